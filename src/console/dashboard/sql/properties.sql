-- The properties that it has most often, and the $18 most frequent values of each; with each the events that have the property, and
-- of these the ones whose value nobody can tell any more.
, placed as (
    select *, sum(events) over key as of_key, coalesce(sum(events) filter (where value is null) over key, 0) as untold,
           row_number() over (partition by key order by value is null, events desc, value collate "C") as place
      from sums
    window key as (partition by key)
), ranked as (
    select *, dense_rank() over (order by of_key desc, key collate "C") as key_place
      from placed
)
select key, value, visitors, events, of_key::bigint, untold::bigint, 0::bigint
  from ranked
 where key_place <= 10 and place <= $18 and value is not null
 order by key_place, place
