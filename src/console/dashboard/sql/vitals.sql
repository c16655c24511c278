-- What three of four measurements were no worse than, in hundredths.
, ranked as (
    select metric, value, sum(views) over (partition by metric order by value) as so_far, sum(views) over (partition by metric) as views
      from counted
)
select metric, '', 0::bigint, max(views)::bigint, (min(value) filter (where so_far * 4 >= views * 3) * 100)::bigint, 0::bigint, 0::bigint
  from ranked
 group by metric
