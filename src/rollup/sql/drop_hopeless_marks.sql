-- Marks of the rollup $1 that no run can serve: retention has dropped events that the bucket depends on, or the bucket is
-- older than what is kept. Says how many buckets of the first kind.
with gone as (
    delete from weir.rollup_dirty d
     using weir.rollups r, weir.frozen f
     where d.rollup_id = $1 and r.rollup_id = $1
       and (r.reads_events and d.bucket - r.look_back < f.before or d.bucket < now() - r.keep::interval)
    returning d.bucket, r.reads_events and d.bucket - r.look_back < f.before as is_frozen
)
select count(distinct bucket) filter (where is_frozen) as frozen from gone
