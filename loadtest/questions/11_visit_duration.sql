select percentile_cont(0.5) within group (order by duration) as median
  from (select max(occurred_at) - min(occurred_at) as duration
          from analytics.events
         where not is_bot and occurred_at >= current_date - 7
         group by session_id) visits
