with weeks as (
    select distinct visitor_id, date_trunc('week', occurred_at) as week
      from analytics.events
     where not is_bot and occurred_at >= current_date - 56),
cohorts as (
    select visitor_id, week, min(week) over (partition by visitor_id) as cohort from weeks)
select cohort, extract(days from week - cohort)::int / 7 as week, count(*) as visitors
  from cohorts group by cohort, 2 order by cohort, 2
