with follower as materialized (
    select from weir.clickhouse_sink where cardinality($3::timestamptz[]) > 0 and now() < named_until
), named as (
    insert into weir.clickhouse_named (ids, is_new)
    select uuid_send(event_id), true from weir.quarantine, follower where id = $1
), touched as (
    insert into weir.touched (hours, is_named)
    select $3::timestamptz[], exists (select from follower) where cardinality($3) > 0
)
update weir.quarantine set outcome = $2, replayed_at = now() where id = $1
