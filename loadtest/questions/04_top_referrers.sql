select referrer_host, count(distinct session_id) as visits
  from analytics.events
 where kind = 'page' and not is_bot and occurred_at >= current_date - 7
 group by referrer_host order by visits desc limit 20
