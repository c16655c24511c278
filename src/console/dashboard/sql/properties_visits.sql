-- As properties_daily.sql, of these visits. Here every value and every key counts.
, counted as (
    select key, left(value #>> '{}', 200) as value, bucket, source, visitor_id, count(*) as events
      from within, jsonb_each(case jsonb_typeof(properties) when 'object' then properties end)
     where name = $17 and kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group')
       and jsonb_typeof(value) in ('string', 'number', 'boolean')
     group by 1, 2, bucket, source, visitor_id
), sums as (
    select key, value, count(visitor_id) as visitors, sum(events)::bigint as events
      from counted
     group by key, value
)
