-- Whether Citus knows analytics.events, and by which column.
select column_to_column_name(logicalrelid, partkey) as column
  from pg_dist_partition
 where logicalrelid = 'analytics.events'::regclass
