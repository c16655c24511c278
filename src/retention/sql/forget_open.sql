-- The request that was cut short, or a new one.
with cut_short as (
    select id, ids from weir.forget_requests
     where finished_at is null and kind = $1 and person = $2 and source is not distinct from $3
     order by id limit 1
), made as (
    insert into weir.forget_requests (kind, person, source)
    select $1, $2, $3 where not exists (select from cut_short)
    returning id, ids
)
select id, ids from cut_short union all select id, ids from made
