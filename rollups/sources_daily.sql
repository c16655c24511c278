-- kind: incremental
-- every: 5m
-- bucket: day
-- description: Where the visits of each day came from: campaign's source, else referrer, else direct.
select bucket, source, referred_by, utm_medium, utm_campaign,
       count(*)                                                     as visits,
       count(distinct visitor_id)                                   as visitors,
       sum(page_views)::bigint                                      as page_views,
       count(*) filter (where is_bounce) / count(*)::double precision as bounce_rate,
       avg(duration_s)                                              as visit_duration_s
  from sessions
 group by bucket, source, referred_by, utm_medium, utm_campaign;
