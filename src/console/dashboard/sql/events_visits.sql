-- As events_daily.sql, of these visits.
, seen as not materialized (
    select bucket, source, visitor_id, is_only_visit, name, p.events
      from visits v,
           lateral (select name, count(*) as events from unnest(v.event_names) as name group by name) p
), parts as (
    select name, count(*) as visitors, sum(events) as events from seen where is_only_visit group by name
    union all
    select name, 1, sum(events) from seen where not is_only_visit group by name, bucket, source, visitor_id
)
select 'events', name, sum(visitors)::bigint, sum(events)::bigint as events, 0::bigint, 0::bigint, 0::bigint
  from parts
 group by name
 order by events desc, name collate "C"
 limit $18
