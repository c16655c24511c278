select path, count(*) as views, count(distinct visitor_id) as visitors
  from analytics.events
 where kind = 'page' and not is_bot and occurred_at >= current_date - 7
 group by path order by views desc limit 20
