-- The figures of each hour or day ($17) of the visits that began before $19. Who came once on a day is counted at once; of the
-- others, it has to be found out who was counted before.
, meant as (
    select date_trunc($17, started_at, 'UTC') as at, * from visits where $19::text is null or started_at < $19::text::timestamptz
), parts as (
    select at, count(*) as visitors, count(*) as visits, sum(page_views) as page_views, count(*) filter (where is_bounce) as bounces,
           sum(round(duration_s * 1000)) as duration_ms
      from meant
     where is_only_visit
     group by at
    union all
    select at, 1, count(*), sum(page_views), count(*) filter (where is_bounce), sum(round(duration_s * 1000))
      from meant
     where not is_only_visit
     group by at, source, visitor_id
)
select 'series', extract(epoch from at)::bigint::text, sum(visitors)::bigint, sum(visits)::bigint, sum(page_views)::bigint,
       sum(bounces)::bigint, sum(duration_ms)::bigint
  from parts
 group by at
 order by at
