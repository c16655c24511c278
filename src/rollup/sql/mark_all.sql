-- Marks of all buckets that events may fall into, for the first filling of the rollup $1.
with days as (
    select to_date(substr(c.relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' as day
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'analytics.events'::regclass and c.relname ~ '^events_[0-9]{8}$'
       -- citus: there the size says nothing, and an empty day costs an empty bucket
       and (pg_relation_size(c.oid) > 0 or to_regclass('pg_catalog.pg_dist_shard') is not null)
    union
    select date_trunc('day', occurred_at, 'UTC') from analytics.events_default
)
insert into weir.rollup_dirty (rollup_id, bucket, is_fill)
select distinct r.rollup_id, mark, true
  from weir.rollups r, days,
       weir.buckets(r.bucket, r.timezone, day - r.look_ahead, day + interval '24 hours' + r.look_back) as mark
 where r.rollup_id = $1 and r.reads_events and (r.keep is null or mark >= now() - r.keep::interval)
