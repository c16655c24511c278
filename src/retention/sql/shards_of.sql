-- Whose shards they are.
select s.shardid as shard, format('%I.%I', n.nspname, c.relname) as name
  from pg_dist_shard s
  join pg_class c on c.oid = s.logicalrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('analytics', 'weir') and c.relname ~ '^(events|expired)_'
