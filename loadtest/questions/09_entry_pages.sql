select path, count(*) as visits
  from (select distinct on (session_id) session_id, path
          from analytics.events
         where kind = 'page' and not is_bot and occurred_at >= current_date - 7
         order by session_id, occurred_at) entries
 group by path order by visits desc limit 20
