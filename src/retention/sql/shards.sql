-- On each node of a Citus cluster: what the shards of partitions come to, by their numbers, which end their names.
select coalesce(json_agg(json_build_object(
           'id', substring(c.relname from '_(\d+)$')::bigint,
           'rows', c.reltuples::bigint,
           'heap_bytes', pg_table_size(c.oid),
           'index_bytes', pg_indexes_size(c.oid),
           'inserted', pg_stat_get_tuples_inserted(c.oid),
           'blocks', pg_relation_size(c.oid) / current_setting('block_size')::bigint)), '[]')::text
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname in ('analytics', 'weir') and c.relname ~ '^(events|expired)_.*_\d+$'
