-- kind: incremental
-- every: 5m
-- bucket: day
-- look-back: 30 minutes
-- look-ahead: 6 hours
-- unique: bucket, source, visitor_id, started_at
-- description: One row a visit: what a visitor did without a pause of more than 30 minutes, by the day on which it began, without bots.
--
-- A visit that lasts longer than six hours past midnight is cut there. Of one with more than 1,000 page views or events
-- with a name, `pages` and `event_names` have the first 1,000: nobody reads that much, and a row has to stay a row. `vitals` has what
-- its pages measured, until half an hour after the last event: the name of each and the value, rounded as in web_vitals_spread_daily.
with steps as (
    select *,
           -- Without an event before it, this is null, and so a beginning.
           (occurred_at <= lag(occurred_at) over visitor + interval '30 minutes') is not true as begins
      from events
     where not is_bot and visitor_id is not null
       -- What a page tells by itself, or only of who it is, is no visit.
       and kind not in ('engagement', 'web_vitals', 'identify', 'alias', 'group')
    window visitor as (partition by source, visitor_id order by occurred_at, event_id)
), numbered as (
    select *, count(*) filter (where begins) over (partition by source, visitor_id order by occurred_at, event_id) as visit
      from steps
), visits as (
    select source, visitor_id, visit,
           (array_agg(bucket order by occurred_at, event_id))[1]         as bucket,
           max(user_id)                                                  as user_id,
           min(occurred_at)                                              as started_at,
           max(occurred_at)                                              as ended_at,
           extract(epoch from max(occurred_at) - min(occurred_at))::double precision as duration_s,
           count(*)                                                      as events,
           count(*) filter (where kind = 'page')                         as page_views,
           (array_agg(path order by occurred_at, event_id) filter (where kind = 'page'))[1]                as entry_page,
           (array_agg(path order by occurred_at desc, event_id desc) filter (where kind = 'page'))[1]      as exit_page,
           (array_agg(path order by occurred_at, event_id) filter (where kind = 'page'))[1:1000]           as pages,
           (array_agg(name order by occurred_at, event_id) filter (where kind <> 'page' and name is not null))[1:1000] as event_names,
           (array_agg(nullif(referrer_host, host) order by occurred_at, event_id))[1] as referrer_host,
           (array_agg(utm_source   order by occurred_at, event_id))[1]   as utm_source,
           (array_agg(utm_medium   order by occurred_at, event_id))[1]   as utm_medium,
           (array_agg(utm_campaign order by occurred_at, event_id))[1]   as utm_campaign,
           (array_agg(country      order by occurred_at, event_id))[1]   as country,
           (array_agg(region       order by occurred_at, event_id))[1]   as region,
           (array_agg(device       order by occurred_at, event_id))[1]   as device,
           (array_agg(browser      order by occurred_at, event_id))[1]   as browser,
           (array_agg(os           order by occurred_at, event_id))[1]   as os
      from numbered
     group by source, visitor_id, visit
), measured as (
    select e.source, e.visitor_id, e.occurred_at, e.event_id,
           m.metric || ' ' || ceil(least(greatest(m.value::numeric, 0), m.most) / m.step) * m.step as vital
      from events e,
           lateral (values ('lcp', properties -> 'lcp', 10, 60000), ('inp', properties -> 'inp', 10, 60000),
                           ('cls', properties -> 'cls', 0.01, 10), ('fcp', properties -> 'fcp', 10, 60000),
                           ('ttfb', properties -> 'ttfb', 10, 60000)) as m (metric, value, step, most)
     where e.kind = 'web_vitals' and not e.is_bot and e.visitor_id is not null and jsonb_typeof(m.value) = 'number'
), measures as (
    select source, visitor_id, visit, (array_agg(m.vital order by m.occurred_at, m.event_id, m.vital))[1:1000] as vitals
      from visits v join measured m using (source, visitor_id)
     where m.occurred_at >= v.started_at and m.occurred_at <= v.ended_at + interval '30 minutes'
     group by source, visitor_id, visit
)
select bucket, source, visitor_id, user_id, started_at, duration_s, events, page_views,
       events = 1 as is_bounce,
       entry_page, exit_page,
       coalesce(utm_source, regexp_replace(referrer_host, '^www\.', ''), 'direct') as referred_by,
       utm_source, utm_medium, utm_campaign, country, region, device, browser, os, pages, event_names, vitals,
       -- Of these nobody has to look whether they were counted before.
       count(*) over (partition by source, visitor_id, bucket) = 1 as is_only_visit
  from visits left join measures using (source, visitor_id, visit);
