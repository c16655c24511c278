update weir.clickhouse_sink
   set succeeded_at = now(), failing_since = null, error = null
 where not exists (select from weir.clickhouse_named) and not exists (select from weir.clickhouse_marks)
