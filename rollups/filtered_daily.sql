-- kind: incremental
-- every: 5m
-- bucket: day
-- packed: visits
-- description: For the dashboard, not for SQL: what the visits of each day come to that have one value of one dimension, for all of them, packed.
--
-- What weir makes of these visits says src/rollup/pack/mod.rs.
select bucket, source, visitor_id, started_at, floor(extract(epoch from started_at - bucket) / 60)::integer as minute,
       events, page_views, is_bounce, round(duration_s * 1000)::bigint as duration_ms,
       referred_by as referrer, utm_source, utm_medium, utm_campaign, country, country || '/' || region as region, device, browser, os,
       entry_page as entry, exit_page as exit, pages, event_names, vitals
  from sessions
