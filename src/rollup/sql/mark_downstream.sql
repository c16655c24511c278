-- Buckets of the rollup $1 have changed: marks for those that read it. As in dispatch.sql.
with marks as (
    select distinct r.rollup_id, mark as bucket
      from weir.rollups r, unnest($2::timestamptz[]) as changed,
           weir.buckets(r.bucket, r.timezone, changed - r.look_ahead, changed + r.look_back + interval '1 microsecond') as mark
     where r.kind = 'incremental' and $1 = any (r.upstream)
), held as (
    select d.rollup_id, d.bucket
      from weir.rollup_dirty d join marks m on m.rollup_id = d.rollup_id and m.bucket = d.bucket
       for update of d skip locked
)
insert into weir.rollup_dirty (rollup_id, bucket)
select rollup_id, bucket from marks m
 where not exists (select from held h where h.rollup_id = m.rollup_id and h.bucket = m.bucket)
