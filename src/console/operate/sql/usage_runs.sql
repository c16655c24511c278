-- What each person ran in the console, by week (from Monday, UTC), over the last $1 weeks.
select role, date_trunc('week', started_at at time zone 'UTC')::date::text as week, count(*) as runs,
       coalesce(sum(duration_ms), 0) / 1000 as seconds, count(*) filter (where state = 'failed') as failed
  from console.runs
 where started_at >= (date_trunc('week', now() at time zone 'UTC') - make_interval(weeks => $1 - 1)) at time zone 'UTC'
 group by 1, 2
