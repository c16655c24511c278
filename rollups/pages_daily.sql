-- kind: incremental
-- every: 5m
-- bucket: day
-- description: Pages by the day on which visits began: visitors and visits that saw one, its page views, and visits that began and ended there.
with seen as (
    select bucket, source, visitor_id, is_only_visit, path, p.page_views
      from sessions,
           lateral (select path, count(*) as page_views from unnest(pages) as path where path is not null group by path) p
), parts as (
    -- Who came once on the day is counted at once; of the others, it has to be found out who was counted before.
    select bucket, source, path, count(*) as visitors, count(*) as visits, sum(page_views) as page_views,
           0 as entries, 0 as bounces, 0 as exits
      from seen
     where is_only_visit
     group by bucket, source, path
    union all
    select bucket, source, path, 1, count(*), sum(page_views), 0, 0, 0
      from seen
     where not is_only_visit
     group by bucket, source, path, visitor_id
    union all
    select bucket, source, entry_page, 0, 0, 0, count(*), count(*) filter (where is_bounce), 0
      from sessions
     where entry_page is not null
     group by bucket, source, entry_page
    union all
    select bucket, source, exit_page, 0, 0, 0, 0, 0, count(*)
      from sessions
     where exit_page is not null
     group by bucket, source, exit_page
)
select bucket, source, path,
       sum(visitors)::bigint   as visitors,
       sum(visits)::bigint     as visits,
       sum(page_views)::bigint as page_views,
       sum(entries)::bigint    as entries,
       sum(bounces)::bigint    as bounces,
       sum(exits)::bigint      as exits
  from parts
 group by bucket, source, path;
