with gone as (
    delete from weir.clickhouse_marks where id = $1 returning noted_at
)
insert into weir.clickhouse_marks (from_at, to_at, is_taken, noted_at)
select at, at + interval '1 hour', true, noted_at
  from gone, (select to_timestamp(hour_us / 1000000) as at from unnest($2::bigint[]) as hour_us) hours
