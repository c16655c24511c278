with taken as (
    delete from weir.rollup_dirty
     where rollup_id = $1 and bucket >= $2::text::timestamptz and bucket < $3::text::timestamptz
    returning bucket
)
select count(distinct bucket) as buckets from taken
