select path, count(distinct e.session_id) as visits
  from analytics.events e
 where kind = 'page' and occurred_at >= current_date - 7
   and session_id in (select session_id from analytics.events where name = 'purchase' and occurred_at >= current_date - 7)
 group by path order by visits desc limit 20
