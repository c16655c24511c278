-- The figures of each hour of one day.
select 'series', extract(epoch from bucket + value::integer * interval '1 hour')::bigint::text, sum(visitors)::bigint,
       sum(visits)::bigint, sum(page_views)::bigint, sum(bounces)::bigint, sum(duration_ms)::bigint
  from analytics.visits_daily
 where dimension = 'hour'
   and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
 group by bucket, value
 order by bucket, value
