-- The next buckets of the rollup $1 to compute: those whose events have changed before those of the first filling, the newest
-- first, and of the former only those before $2, since the others have had their turn. Hours of one day go together: they lie
-- in one partition.
with newest as (
    select bucket from weir.rollup_dirty
     where rollup_id = $1 and (is_fill or bucket < $2::text::timestamptz)
     order by is_fill, bucket desc
     limit 1
), chunk as (
    select min(d.bucket) as first, max(d.bucket) as last
      from weir.rollup_dirty d, newest n, weir.rollups r
     where d.rollup_id = $1 and r.rollup_id = $1 and d.bucket <= n.bucket
       and d.bucket >= case r.bucket when 'hour' then date_trunc('day', n.bucket, 'UTC') else n.bucket end
)
select c.first::text as first, until::text as until, (c.first - r.look_back)::text as read_from, (until + r.look_ahead)::text as read_until
  from chunk c, weir.rollups r, weir.bucket_end(r.bucket, c.last, r.timezone) as until
 where r.rollup_id = $1 and c.first is not null
