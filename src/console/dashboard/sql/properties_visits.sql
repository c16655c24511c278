-- As properties_daily.sql, of these visits. Here the values and keys count that the day's rollup would have no room for.
, counted as (
    select p.key, left(p.value #>> '{}', 200) as value, bucket, source, visitor_id, count(*) as events
      from within, jsonb_each(case jsonb_typeof(properties) when 'object' then properties end) with ordinality as p (key, value, place)
     where name = $17 and kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group')
       and jsonb_typeof(p.value) in ('string', 'number', 'boolean')
       and length(p.key) <= 200 and p.place <= 200
     group by 1, 2, bucket, source, visitor_id
), sums as (
    select key, value, count(visitor_id) as visitors, sum(events)::bigint as events
      from counted
     group by key, value
)
