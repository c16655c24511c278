-- Of each list of $17 the $18 pages with the most visitors, or visits that began or ended there.
with sums as materialized (
    select path, sum(visitors)::bigint as visitors, sum(visits)::bigint as visits, sum(page_views)::bigint as page_views,
           sum(entries)::bigint as entries, sum(bounces)::bigint as bounces, sum(exits)::bigint as exits
      from analytics.pages_daily
     where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
       and ($3::text is null or source = $3)
     group by path
), lines as (
    select 'pages' as list, path, visitors, visits, page_views, 0::bigint as bounces from sums where visits > 0
    union all
    select 'entry', path, 0, entries, 0, bounces from sums where entries > 0
    union all
    select 'exit', path, 0, exits, 0, 0 from sums where exits > 0
), placed as (
    select *, row_number() over (partition by list order by visitors desc, visits desc, path collate "C") as place
      from lines
     where list = any (string_to_array($17, ','))
)
select list, path, visitors, visits, page_views, bounces, 0::bigint
  from placed
 where place <= $18
 order by list, place
