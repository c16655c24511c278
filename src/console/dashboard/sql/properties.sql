-- Of the event $17: the properties that it has most often, and the $18 most frequent values of each.
, counted as (
    select key, left(value #>> '{}', 200) as value, bucket, source, visitor_id, count(*) as events
      from within, jsonb_each(case jsonb_typeof(properties) when 'object' then properties end)
     where name = $17 and kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group')
       and jsonb_typeof(value) in ('string', 'number', 'boolean')
     group by 1, 2, bucket, source, visitor_id
), sums as (
    select key, value, count(visitor_id) as visitors, sum(events)::bigint as events, sum(sum(events)) over (partition by key) as of_key
      from counted
     group by key, value
), placed as (
    select *, dense_rank() over (order by of_key desc, key collate "C") as key_place,
           row_number() over (partition by key order by events desc, value collate "C") as place
      from sums
)
select key, value, visitors, events, 0::bigint, 0::bigint, 0::bigint
  from placed
 where key_place <= 10 and place <= $18
 order by key_place, place
