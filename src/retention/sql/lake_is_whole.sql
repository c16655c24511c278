-- Whether a lake is waited for (one is in use, or $3), and whether it has all of a day's partition, or of the table $2 that was
-- detached.
select $3 or exists (select from weir.lake) as is_awaited,
       coalesce(bool_and(not d.is_stale and d.exported_at is not null), false)
       and not exists (select from weir.lake_marks m where m.day = $1::text::date) as is_whole
  from weir.lake_days d
 where d.day = $1::text::date and d.detached is not distinct from $2::text
