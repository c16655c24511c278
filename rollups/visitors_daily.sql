-- kind: incremental
-- every: 5m
-- bucket: day
-- unique: bucket, source
-- description: Visitors, page views and visits of each day, without bots. Visitors of several days cannot be added up.
with counted as (
    select bucket, source,
           count(distinct visitor_id)            as visitors,
           count(distinct user_id)               as users,
           count(*) filter (where kind = 'page') as page_views,
           count(*)                              as events
      from events
     where not is_bot and kind not in ('engagement', 'web_vitals', 'identify', 'alias', 'group')
     group by bucket, source
), visited as (
    select bucket, source,
           count(*)                                as visits,
           count(*) filter (where is_bounce)       as bounces,
           sum(duration_s)                         as duration_s
      from sessions
     group by bucket, source
)
select bucket, source, visitors, users, page_views, events,
       coalesce(visits, 0)                                        as visits,
       bounces / nullif(visits, 0)::double precision              as bounce_rate,
       duration_s / nullif(visits, 0)                             as visit_duration_s,
       page_views / nullif(visits, 0)::double precision           as views_per_visit
  from counted left join visited using (bucket, source);
