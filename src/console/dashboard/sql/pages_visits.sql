-- As pages_daily.sql, of these visits.
, seen as not materialized (
    select bucket, source, visitor_id, is_only_visit, path, p.page_views
      from visits v,
           lateral (select path, count(*) as page_views from unnest(v.pages) as path where path is not null group by path) p
), parts as (
    select path, count(*) as visitors, count(*) as visits, sum(page_views) as page_views from seen where is_only_visit group by path
    union all
    select path, 1, count(*), sum(page_views) from seen where not is_only_visit group by path, bucket, source, visitor_id
), lines as (
    select 'pages' as list, path, sum(visitors)::bigint as visitors, sum(visits)::bigint as visits, sum(page_views)::bigint as page_views,
           0::bigint as bounces
      from parts group by path
    union all
    select case when grouping(entry_page) = 0 then 'entry' else 'exit' end, coalesce(entry_page, exit_page), 0, count(*), 0,
           case when grouping(entry_page) = 0 then count(*) filter (where is_bounce) else 0 end
      from visits
     where entry_page is not null or exit_page is not null
     group by grouping sets ((entry_page), (exit_page))
), placed as (
    select *, row_number() over (partition by list order by visitors desc, visits desc, path collate "C") as place
      from lines
     where path is not null and list = any (string_to_array($17, ','))
)
select list, path, visitors, visits, page_views, bounces, 0::bigint
  from placed
 where place <= $18
 order by list, place
