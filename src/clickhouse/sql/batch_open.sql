select batch, ids, is_new and noted_at > (select compared_at from weir.clickhouse_sink) as is_new
  from weir.clickhouse_named
 where batch is not null
