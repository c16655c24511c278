-- Of these visits, what their pages measured.
, counted as (
    select split_part(vital, ' ', 1) as metric, split_part(vital, ' ', 2)::numeric as value, count(*) as views
      from visits, unnest(vitals) as vital
     group by 1, 2
)
