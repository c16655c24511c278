select date_trunc('day', occurred_at) as day, count(distinct visitor_id) as visitors, count(*) as views
  from analytics.page_views
 where not is_bot and occurred_at > now() - interval '7 days'
 group by 1 order by 1;
