-- Every day that there is: by its partition, and by what found no partition, which will have one soon. And the time between, before
-- and after them, of which ClickHouse may have something, too: as long as both have times.
with days as (
    select to_date(substr(c.relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' as at
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'analytics.events'::regclass and c.relname ~ '^events_[0-9]{8}$'
    union
    select date_trunc('day', occurred_at, 'UTC') from only analytics.events_default where isfinite(occurred_at)
), ranges as (
    select at as from_at, at + interval '24 hours' as to_at, true as is_day from days
    union all
    select at + interval '24 hours', lead(at, 1, timestamptz '2200-01-01 00:00Z') over (order by at), false from days
    union all
    select timestamptz '1900-01-01 00:00Z', coalesce(min(at), timestamptz '2200-01-01 00:00Z'), false from days
), marked as materialized (
    select is_day, weir.mark_clickhouse(from_at, to_at) as is_marked from ranges where from_at < to_at
)
select count(*) filter (where is_day) as days from marked
