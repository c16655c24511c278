, by_visitor as (
    select name, kind, bucket, source, visitor_id, count(*) as events
      from within
     where kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group') and name is not null
     group by name, kind, bucket, source, visitor_id
)
select 'events', name, count(*), sum(events)::bigint as events, 0::bigint, 0::bigint, 0::bigint
  from by_visitor
 group by name
 order by events desc, name collate "C"
 limit $18
