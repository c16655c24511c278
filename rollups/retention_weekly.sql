-- kind: materialized
-- every: '15 * * * *'
-- unique: source, cohort, weeks_later
-- description: Of those who first came in one week, how many came in each week after it. Users where known, else visitors.
with weeks as (
    select distinct source, coalesce(user_id, visitor_id) as person, date_trunc('week', bucket, 'UTC') as week
      from sessions
), cohorts as (
    select source, week, min(week) over (partition by source, person) as cohort
      from weeks
)
select source, cohort,
       (extract(epoch from week - cohort) / 604800)::integer as weeks_later,
       count(*)                                              as people,
       count(*) / (first_value(count(*)) over (partition by source, cohort order by week))::double precision as rate
  from cohorts
 group by source, cohort, week;
