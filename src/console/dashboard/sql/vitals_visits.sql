-- Rounded as in rollups/web_vitals_spread_daily.sql.
, counted as (
    select m.metric, ceil(least(greatest(m.value::numeric, 0), m.most) / m.step) * m.step as value, count(*) as views
      from within,
           lateral (values ('lcp', properties -> 'lcp', 10, 60000), ('inp', properties -> 'inp', 10, 60000),
                           ('cls', properties -> 'cls', 0.01, 10), ('fcp', properties -> 'fcp', 10, 60000),
                           ('ttfb', properties -> 'ttfb', 10, 60000)) as m (metric, value, step, most)
     where kind = 'web_vitals' and jsonb_typeof(m.value) = 'number'
       -- Where nobody measures any, which is common, no event is read.
       and exists (select 1 from analytics.web_vitals_spread_daily
                    where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz + interval '1 day')
     group by 1, 2
)
