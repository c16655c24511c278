with touched as (
    insert into weir.touched (hours)
    select $3::timestamptz[] where cardinality($3) > 0
)
update weir.quarantine set outcome = $2, replayed_at = now() where id = $1
