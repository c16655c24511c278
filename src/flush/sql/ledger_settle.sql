with touched as (
    insert into weir.touched (hours)
    select $7::timestamptz[] where cardinality($7) > 0
)
insert into weir.ledger_sources as ledger (segment_id, source, accepted, stored, duplicate, quarantined)
select $1, * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
on conflict (segment_id, source) do update
   set accepted    = ledger.accepted    + excluded.accepted,
       stored      = ledger.stored      + excluded.stored,
       duplicate   = ledger.duplicate   + excluded.duplicate,
       quarantined = ledger.quarantined + excluded.quarantined
