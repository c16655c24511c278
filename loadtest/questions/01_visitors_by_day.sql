select date_trunc('day', occurred_at) as day, count(distinct visitor_id) as visitors
  from analytics.events
 where kind = 'page' and not is_bot and occurred_at >= current_date - 30
 group by day order by day
