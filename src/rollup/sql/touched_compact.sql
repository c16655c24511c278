-- Where nobody dispatches, what was touched becomes one row, once there are more than $1: of all events there ever were, hours are
-- few.
with gone as (
    delete from weir.touched
     where (select count(*) from weir.touched) > $1
       and id in (select id from weir.touched for update skip locked)
    returning hours, noted_at
)
insert into weir.touched (hours, noted_at)
select array_agg(distinct hour), min(noted_at) from gone, unnest(hours) as hour
having count(*) > 0
