select path, count(*) from analytics.page_views
 where occurred_at >= :'month' and occurred_at < :'today'
 group by path order by 2 desc limit 20;
