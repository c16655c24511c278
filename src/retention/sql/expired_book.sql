-- Counts the rows of a table that is about to be dropped, and books them as removed.
with counted as (
    select source, count(*) as rows from only {table} group by source
), booked as (
    insert into weir.removed as removed (source, reason, rows)
    select source, 'retention', rows from counted
    on conflict (source, reason) do update set rows = removed.rows + excluded.rows, updated_at = now()
)
select coalesce(sum(rows), 0)::bigint as rows from counted
