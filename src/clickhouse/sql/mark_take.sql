-- Nobody can rely on a mark that is taken; one that a transaction under way relies on is passed over, and one that failed has to wait.
with next as (
    select id from weir.clickhouse_marks
     where retry_at <= now()
     order by is_taken desc, from_at desc, id
     limit 1
       for update skip locked
), taken as (
    update weir.clickhouse_marks m
       set is_taken = true
      from next
     where m.id = next.id
    returning m.id, m.from_at, m.to_at, m.done_to
)
select id, (extract(epoch from from_at) * 1000000)::bigint as from_us, (extract(epoch from to_at) * 1000000)::bigint as to_us, done_to
  from taken
