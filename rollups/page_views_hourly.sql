-- kind: incremental
-- every: 5m
-- bucket: hour
-- description: Page views and visitors of each page in each hour, without bots.
select bucket, source, host, path,
       count(*)                   as page_views,
       count(distinct visitor_id) as visitors
  from page_views
 where not is_bot
 group by bucket, source, host, path;
