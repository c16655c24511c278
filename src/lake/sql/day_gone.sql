-- The partition is gone, and not by retention: what the lake has of it stays. What was never begun leaves no trace.
with never as (
    delete from weir.lake_days d
     where day = $1::text::date and part = $2 and detached is not distinct from $3::text and dropped_at is null
       and exported_at is null and not exists (select from weir.lake_files f where f.day = d.day and f.part = d.part)
)
update weir.lake_days
   set detached = coalesce(detached, 'gone'), dropped_at = now()
 where day = $1::text::date and part = $2 and detached is not distinct from $3::text and dropped_at is null
   and (exported_at is not null
        or exists (select from weir.lake_files f where f.day = weir.lake_days.day and f.part = weir.lake_days.part))
