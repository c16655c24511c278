-- The $18 events of one's own that happened most, and how many page views have no visitor.
(select 'events', name, sum(visitors)::bigint, sum(events)::bigint as events, 0::bigint, 0::bigint, 0::bigint
   from analytics.events_daily
  where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
    and ($3::text is null or source = $3)
    and kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group') and name is not null
  group by name
  order by events desc, name collate "C"
  limit $18)
union all
select 'without_visitor', '', 0, coalesce(sum(without_visitor), 0)::bigint, 0, 0, 0
  from analytics.events_daily
 where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
   and kind = 'page'
