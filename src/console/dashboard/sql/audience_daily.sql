-- The $18 values of each dimension of $17 that have the most visitors.
with sums as (
    select dimension, value, sum(visitors)::bigint as visitors, sum(visits)::bigint as visits, sum(page_views)::bigint as page_views,
           sum(bounces)::bigint as bounces, sum(duration_ms)::bigint as duration_ms
      from analytics.visits_daily
     where dimension = any (string_to_array($17, ','))
       and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
       and ($3::text is null or source = $3)
     group by dimension, value
), placed as (
    select *, row_number() over (partition by dimension order by visitors desc, visits desc, value collate "C") as place from sums
)
select dimension, value, visitors, visits, page_views, bounces, duration_ms
  from placed
 where place <= $18
 order by dimension, place
