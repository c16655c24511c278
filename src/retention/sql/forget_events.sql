-- Deletes a lot of a person's events, books them, and notes their hours for rollups, their days for the lake, and their ids for
-- ClickHouse.
with theirs as (
    select event.event_id from only {table} event where {person} limit $3
), gone as (
    delete from only {table} event
     where event.event_id = any (array (select event_id from theirs))
    returning event.source, event.occurred_at, event.event_id
), counted as (
    select source, count(*) as rows from gone group by source
), booked as (
    insert into weir.removed as removed (source, reason, rows)
    select source, 'forgotten', rows from counted
    on conflict (source, reason) do update set rows = removed.rows + excluded.rows, updated_at = now()
), follower as materialized (
    select 1 as is_any from weir.clickhouse_sink where now() < named_until
), named as (
    insert into weir.clickhouse_named (ids, is_new)
    select string_agg(uuid_send(event_id), ''), false from gone having count(*) > 0 and exists (select 1 from follower)
), noted as (
    insert into weir.touched (hours, is_named)
    select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')), exists (select 1 from follower) from gone having count(*) > 0
), marked as (
    insert into weir.lake_marks (day, is_urgent)
    select distinct d.day, true
      from weir.lake_days d
     where d.dropped_at is null and d.day in (select (occurred_at at time zone 'UTC')::date from gone)
)
select coalesce(sum(rows), 0)::bigint as rows from counted
