select date_trunc('day', occurred_at) as day, count(*) as views
  from analytics.events
 where kind = 'page' and not is_bot
 group by day order by day
