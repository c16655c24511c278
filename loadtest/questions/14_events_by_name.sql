select kind, name, count(*) as events
  from analytics.events
 where kind <> 'page' and occurred_at >= current_date - 30
 group by kind, name order by events desc
