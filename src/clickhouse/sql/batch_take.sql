-- The oldest rows, a thousand of them and up to $2 bytes of ids, or one if it has more, become the batch $1.
with oldest as (
    select id, ids from weir.clickhouse_named order by id limit 1001
), measured as (
    select id, sum(octet_length(ids)) over (order by id) as bytes, row_number() over (order by id) as place from oldest
)
update weir.clickhouse_named
   set batch = $1
 where id in (select id from measured where bytes <= $2 and place <= 1000 or place = 1)
returning batch, ids, is_new and noted_at > (select compared_at from weir.clickhouse_sink) as is_new,
          (select count(*) from oldest) as waiting
