-- The partitions of analytics.events, and those that retention has taken away and not yet dropped.
-- citus: of shards, whose sizes are not here, src/retention/shards.rs asks
select format('%I.%I', n.nspname, c.relname) as name, n.nspname = 'weir' as detached,
       c.relname = 'events_default' as stray, obj_description(c.oid, 'pg_class') is not distinct from 'to be archived' as to_be_archived,
       substring(c.relname from '^(?:events|expired)_(\d{8})(?:_[0-9a-f]{16})?$') as day,
       case when c.reltuples >= 0 then c.reltuples::bigint end as rows,
       pg_table_size(c.oid) as heap_bytes, pg_indexes_size(c.oid) as index_bytes,
       pg_stat_get_tuples_inserted(c.oid) as inserted,
       pg_relation_size(c.oid) / current_setting('block_size')::bigint as blocks,
       to_regclass('pg_catalog.pg_dist_shard') is not null as has_citus
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r'
   and (c.oid in (select inhrelid from pg_inherits where inhparent = 'analytics.events'::regclass)
        or n.nspname = 'weir' and c.relname ~ '^expired_\d{8}_[0-9a-f]{16}$')
 order by day, name
