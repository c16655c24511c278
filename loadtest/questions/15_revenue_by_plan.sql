select properties->>'plan' as plan, sum((properties->>'amount')::numeric) as amount, count(*) as purchases
  from analytics.events
 where name = 'purchase' and occurred_at >= current_date - 30
 group by plan order by amount desc
