with days as (
    select distinct visitor_id, date_trunc('day', occurred_at) as day
      from analytics.events
     where not is_bot and occurred_at >= current_date - 30),
seen as (
    select day, day = min(day) over (partition by visitor_id) as is_new from days)
select day, count(*) filter (where is_new) as new, count(*) filter (where not is_new) as returning
  from seen group by day order by day
