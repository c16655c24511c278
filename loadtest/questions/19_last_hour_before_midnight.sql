select path, count(distinct visitor_id) as visitors
  from analytics.events
 where kind = 'page' and occurred_at >= current_date - interval '1 hour' and occurred_at < current_date
 group by path order by visitors desc limit 10
