-- kind: incremental
-- every: 5m
-- bucket: day
-- description: Visits of each day, all of them and by one dimension each: hour, where they came from, place, device, browser, system.
--
-- Sums over days, sources and values of one dimension are right, but for visitors: who comes on two days counts as two. Who came
-- once on a day is counted at once; of the others, it has to be found out who was counted before.
with visits as (
    select *, to_char(started_at at time zone 'UTC', 'HH24') as hour from sessions
), parts as (
    select bucket, source,
           case when grouping(hour)         = 0 then 'hour'
                when grouping(referred_by)  = 0 then 'referrer'
                when grouping(utm_medium)   = 0 then 'utm_medium'
                when grouping(utm_campaign) = 0 then 'utm_campaign'
                when grouping(region)       = 0 then 'region'
                when grouping(country)      = 0 then 'country'
                when grouping(device)       = 0 then 'device'
                when grouping(browser)      = 0 then 'browser'
                when grouping(os)           = 0 then 'os'
                else 'all' end as dimension,
           hour, referred_by, utm_medium, utm_campaign, country, region, device, browser, os, count(*) as visitors, count(*) as visits, sum(page_views) as page_views,
           count(*) filter (where is_bounce) as bounces, sum(round(duration_s * 1000)) as duration_ms
      from visits
     where is_only_visit
     group by bucket, source,
              grouping sets ((), (hour), (referred_by), (utm_medium), (utm_campaign), (country), (country, region), (device), (browser), (os))
    union all
    select bucket, source,
           case when grouping(hour)         = 0 then 'hour'
                when grouping(referred_by)  = 0 then 'referrer'
                when grouping(utm_medium)   = 0 then 'utm_medium'
                when grouping(utm_campaign) = 0 then 'utm_campaign'
                when grouping(region)       = 0 then 'region'
                when grouping(country)      = 0 then 'country'
                when grouping(device)       = 0 then 'device'
                when grouping(browser)      = 0 then 'browser'
                when grouping(os)           = 0 then 'os'
                else 'all' end as dimension,
           hour, referred_by, utm_medium, utm_campaign, country, region, device, browser, os, 1, count(*) as visits, sum(page_views) as page_views,
           count(*) filter (where is_bounce) as bounces, sum(round(duration_s * 1000)) as duration_ms
      from visits
     where not is_only_visit
     group by bucket, source, visitor_id,
              grouping sets ((), (hour), (referred_by), (utm_medium), (utm_campaign), (country), (country, region), (device), (browser), (os))
), named as (
    select *, case dimension when 'all' then ''
                             when 'region' then country || '/' || region
                             -- Of all the others, one is there.
                             else coalesce(hour, referred_by, utm_medium, utm_campaign, country, device, browser, os) end as value
      from parts
)
select bucket, source, dimension, value,
       sum(visitors)::bigint    as visitors,
       sum(visits)::bigint      as visits,
       sum(page_views)::bigint  as page_views,
       sum(bounces)::bigint     as bounces,
       sum(duration_ms)::bigint as duration_ms
  from named
 where value is not null
 group by bucket, source, dimension, value;
