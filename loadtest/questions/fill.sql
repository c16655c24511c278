-- :rows events over the days from :first to :last days ago, every :of-th day from the :part-th on. A visit is five events of one visitor, one
-- every 40 s; few visitors come often, few pages are read much.
select format($insert$
insert into analytics.events (event_id, occurred_at, received_at, source, kind, name, visitor_id, user_id, session_id, url, host,
       path, title, referrer, referrer_host, utm_source, utm_campaign, ip, country, browser, browser_version, os, os_version, device,
       is_bot, language, screen, properties)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '8' || substr(md5(event::text || %1$L), 1, 19))::uuid,
       at, at + interval '200 ms', 'web', kind,
       case kind when 'track' then (array['signup', 'checkout', 'purchase', 'invite', 'export', 'search'])[1 + dice %% 6]
                 when 'click' then 'cta' end,
       visitor_id, case when visitor < 40000 then 'user-' || visitor end, substr(md5(visit::text || %1$L), 1, 16),
       'https://www.example.com' || path, 'www.example.com', path, 'The page ' || path, 'https://' || referrer_host || '/',
       referrer_host, case when visit %% 9 = 0 then 'newsletter' end, case when visit %% 9 = 0 then 'week-' || visit %% 12 end,
       ('10.' || visitor %% 250 || '.' || visitor / 250 %% 250 || '.0')::inet,
       (array['US', 'DE', 'FR', 'GB', 'IN', 'BR', 'JP'])[1 + (7 * power(luck, 2))::int %% 7],
       (array['Chrome', 'Safari', 'Firefox', 'Edge'])[1 + (4 * power(luck, 2))::int %% 4], '142.0.0',
       (array['Windows', 'iOS', 'Android', 'Mac OS X'])[1 + visitor %% 4], '17.1',
       (array['desktop', 'mobile', 'mobile', 'desktop'])[1 + visitor %% 4], visit %% 50 = 7, 'en-US', '1920x1080',
       case kind when 'track' then jsonb_build_object('plan', (array['free', 'team', 'company'])[1 + event %% 3], 'amount', event %% 200)
       end
  from (select event, visit, luck, visitor, md5('visitor' || visitor) as visitor_id,
               case when dice < 85 then 'page' when dice < 93 then 'click' else 'track' end as kind, dice,
               '/' || (array['docs', 'blog', 'pricing', 'product', ''])[1 + (5 * power(random(), 2))::int %% 5] || '/'
                   || (400 * power(random(), 3))::int as path,
               (array['www.google.com', 'news.ycombinator.com', 't.co', 'github.com', 'www.bing.com', 'duckduckgo.com'])[1 + visit %% 6]
                   as referrer_host,
               timestamptz %1$L + least(visit / visits * interval '1 day' + event %% 5 * interval '40 s', interval '86399 s') as at
          from (select event, abs(hashint8(event)) %% 100 as dice, event / 5 as visit, %2$s / 5.0 as visits, luck, (1000000 * power(luck, 3))::int as visitor
                  from generate_series(0, %2$s - 1) event,
                       lateral (select abs(hashint8extended(event / 5, extract(epoch from date %1$L)::bigint) %% 1000003) / 1000003.0 as luck) l) e) e
$insert$, current_date - day, :rows / (:last - :first + 1))
  from generate_series(:first, :last) day
 where day % :of = :part
\gexec
