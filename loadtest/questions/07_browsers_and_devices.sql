select browser, os, device, count(distinct visitor_id) as visitors
  from analytics.events
 where kind = 'page' and not is_bot and occurred_at >= current_date - 7
 group by browser, os, device order by visitors desc
