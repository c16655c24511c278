select day, avg((views = 1)::int) as bounce_rate
  from (select session_id, min(date_trunc('day', occurred_at)) as day, count(*) as views
          from analytics.events
         where kind = 'page' and not is_bot and occurred_at >= current_date - 7
         group by session_id) visits
 group by day order by day
