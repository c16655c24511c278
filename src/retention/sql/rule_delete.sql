-- citus: of shards it is that stretch of each, and the rest of the condition tells whose rows go
-- Deletes what is over by a rule ($1, $2) and not taken by an earlier one ($3, $4) in a stretch of the heap, and books it.
with gone as (
    delete from only {table} event
     where ctid >= format('(%s,0)', $5)::tid and ctid < format('(%s,0)', $6)::tid
       and ($1::text is null or event.source = $1)
       and ($2::text is null or event.kind = $2)
       and not exists (select from unnest($3::text[], $4::text[]) as earlier (source, kind)
                        where (earlier.source is null or earlier.source = event.source)
                          and (earlier.kind is null or earlier.kind = event.kind))
    returning event.source
), counted as (
    select source, count(*) as rows from gone group by source
), booked as (
    insert into weir.removed as removed (source, reason, rows)
    select source, 'retention', rows from counted
    on conflict (source, reason) do update set rows = removed.rows + excluded.rows, updated_at = now()
)
select coalesce(sum(rows), 0)::bigint as rows from counted
