-- Reading how long the ids are does not read them.
update weir.clickhouse_sink
   set named_until = now() + interval '5 minutes'
 where (select coalesce(sum(octet_length(ids)), 0) from weir.clickhouse_named) < $1
