-- The figures of each day.
select 'series', extract(epoch from bucket)::bigint::text, sum(visitors)::bigint, sum(visits)::bigint, sum(page_views)::bigint, sum(bounces)::bigint,
       sum(duration_ms)::bigint
  from analytics.visits_daily
 where dimension = 'all'
   and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
 group by bucket
 order by bucket
