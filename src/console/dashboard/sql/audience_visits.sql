-- As audience_daily.sql, of these visits. Who came once on a day is counted at once; of the others, it has to be found out who was
-- counted before.
, parts as (
    select case when grouping(referred_by)  = 0 then 'referrer'
                when grouping(utm_medium)   = 0 then 'utm_medium'
                when grouping(utm_campaign) = 0 then 'utm_campaign'
                when grouping(region)       = 0 then 'region'
                when grouping(country)      = 0 then 'country'
                when grouping(device)       = 0 then 'device'
                when grouping(browser)      = 0 then 'browser'
                else 'os' end as dimension,
           referred_by, utm_medium, utm_campaign, country, region, device, browser, os, count(*) as visitors,
           count(*) as visits, sum(page_views) as page_views, count(*) filter (where is_bounce) as bounces,
           sum(round(duration_s * 1000)) as duration_ms
      from visits
     where is_only_visit
     group by grouping sets ((referred_by), (utm_medium), (utm_campaign), (country), (country, region), (device), (browser), (os))
    union all
    select case when grouping(referred_by)  = 0 then 'referrer'
                when grouping(utm_medium)   = 0 then 'utm_medium'
                when grouping(utm_campaign) = 0 then 'utm_campaign'
                when grouping(region)       = 0 then 'region'
                when grouping(country)      = 0 then 'country'
                when grouping(device)       = 0 then 'device'
                when grouping(browser)      = 0 then 'browser'
                else 'os' end as dimension,
           referred_by, utm_medium, utm_campaign, country, region, device, browser, os, 1,
           count(*) as visits, sum(page_views) as page_views, count(*) filter (where is_bounce) as bounces,
           sum(round(duration_s * 1000)) as duration_ms
      from visits
     where not is_only_visit
     group by bucket, source, visitor_id,
              grouping sets ((referred_by), (utm_medium), (utm_campaign), (country), (country, region), (device), (browser), (os))
), named as (
    select *, case dimension when 'region' then country || '/' || region
                             -- Of all the others, one is there.
                             else coalesce(referred_by, utm_medium, utm_campaign, country, device, browser, os) end as value
      from parts
     where dimension = any (string_to_array($17, ','))
), sums as (
    select dimension, value, sum(visitors)::bigint as visitors, sum(visits)::bigint as visits, sum(page_views)::bigint as page_views,
           sum(bounces)::bigint as bounces, sum(duration_ms)::bigint as duration_ms
      from named
     where value is not null
     group by dimension, value
), placed as (
    select *, row_number() over (partition by dimension order by visitors desc, visits desc, value collate "C") as place from sums
)
select dimension, value, visitors, visits, page_views, bounces, duration_ms
  from placed
 where place <= $18
 order by dimension, place
