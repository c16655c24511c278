-- With $8, the ids of the rows are named for ClickHouse, where one follows; else their hours are marked, by a trigger. Returns whether
-- the next transaction is to name them.
with follower as materialized (
    select from weir.clickhouse_sink where now() < named_until
), named as (
    insert into weir.clickhouse_named (ids, is_new)
    select $8, $9 from follower where $8::bytea is not null
), touched as (
    insert into weir.touched (hours, is_named)
    select $7::timestamptz[], $8::bytea is not null and exists (select from follower) where cardinality($7) > 0
), settled as (
    insert into weir.ledger_sources as ledger (segment_id, source, accepted, stored, duplicate, quarantined)
    select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    on conflict (segment_id, source) do update
       set accepted    = ledger.accepted    + excluded.accepted,
           stored      = ledger.stored      + excluded.stored,
           duplicate   = ledger.duplicate   + excluded.duplicate,
           quarantined = ledger.quarantined + excluded.quarantined
)
select exists (select from follower) as is_followed
