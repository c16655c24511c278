-- The names that people look for.
set local lock_timeout = '5s';

create view analytics.page_views as
select event_id, occurred_at, received_at, source, visitor_id, user_id, session_id, url, host, path, query, title, referrer,
       referrer_host, utm_source, utm_medium, utm_campaign, utm_term, utm_content, country, region, city, browser,
       browser_version, os, os_version, device, is_bot, language, screen, properties
  from analytics.events
 where kind = 'page';

create view analytics.clicks as
select event_id, occurred_at, received_at, source, name, visitor_id, user_id, session_id, url, host, path, country, browser,
       os, device, is_bot, properties
  from analytics.events
 where kind = 'click';

-- One row a known person: the newest traits, when first and last identified, and the visitor they were before.
create view analytics.people as
select distinct on (source, user_id)
       source, user_id, visitor_id,
       properties as traits,
       min(occurred_at) over person as first_identified_at,
       max(occurred_at) over person as last_identified_at
  from analytics.events
 where kind = 'identify' and user_id is not null
window person as (partition by source, user_id)
 order by source, user_id, occurred_at desc;
