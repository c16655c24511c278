with made as (
    insert into weir.ledger (segment_id, node) values ($1, $2)
    on conflict (segment_id) do nothing
    returning applied_to, applied_crc
)
select applied_to, applied_crc from made
union all
select applied_to, applied_crc from weir.ledger where segment_id = $1
limit 1
