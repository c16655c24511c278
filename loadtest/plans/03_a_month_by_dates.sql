select path, count(*) from analytics.page_views
 where occurred_at >= date_trunc('month', now() - interval '1 month') and occurred_at < date_trunc('month', now())
 group by path order by 2 desc limit 20;
