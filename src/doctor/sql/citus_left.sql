-- Partitions whose rows were copied to the workers and are still here, where nobody sees them.
select n.nspname || '.' || c.relname as name
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_namespace n on n.oid = c.relnamespace
 where i.inhparent = 'analytics.events'::regclass
   -- citus: what is to be nothing here is asked for
   and pg_relation_size(c.oid) > 0
 order by name
 limit 20
