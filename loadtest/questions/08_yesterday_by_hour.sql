select date_trunc('hour', occurred_at) as hour, count(*) as views, count(distinct visitor_id) as visitors
  from analytics.events
 where kind = 'page' and not is_bot and occurred_at >= current_date - 1 and occurred_at < current_date
 group by hour order by hour
