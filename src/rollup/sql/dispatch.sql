-- What was touched becomes marks: src/rollup/mod.rs says why this is exact.
with taken as (
    delete from weir.touched
     where id in (select id from weir.touched order by id limit $1 for update skip locked)
    returning hours, noted_at
), touched as (
    select hour, min(noted_at) as noted_at from taken, unnest(hours) as hour group by hour
), marks as (
    select r.rollup_id, mark as bucket, min(t.noted_at) as noted_at
      from weir.rollups r, touched t,
           weir.buckets(r.bucket, r.timezone, t.hour - r.look_ahead, t.hour + interval '1 hour' + r.look_back) as mark
     where r.kind = 'incremental' and r.reads_events
     group by 1, 2
), held as (
    select d.rollup_id, d.bucket
      from weir.rollup_dirty d join marks m on m.rollup_id = d.rollup_id and m.bucket = d.bucket
       for update of d skip locked
), made as (
    insert into weir.rollup_dirty (rollup_id, bucket, noted_at)
    select rollup_id, bucket, noted_at from marks m
     where not exists (select from held h where h.rollup_id = m.rollup_id and h.bucket = m.bucket)
    returning 1
)
select (select count(*) from taken) as taken, (select count(*) from made) as made
