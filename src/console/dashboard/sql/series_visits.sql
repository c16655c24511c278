-- The figures of each hour or day ($17) of the visits that began before $19.
, by_visitor as (
    select date_trunc($17, started_at, 'UTC') as at, source, visitor_id,
           count(*) as visits, sum(page_views) as page_views, count(*) filter (where is_bounce) as bounces,
           sum(round(duration_s * 1000)) as duration_ms
      from visits
     where $19::text is null or started_at < $19::text::timestamptz
     group by at, source, visitor_id
)
select 'series', extract(epoch from at)::bigint::text, count(*), sum(visits)::bigint, sum(page_views)::bigint, sum(bounces)::bigint,
       sum(duration_ms)::bigint
  from by_visitor
 group by at
 order by at
