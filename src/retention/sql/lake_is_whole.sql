-- Whether the lake has all of a day's partition, or of the table $2 that was detached.
select coalesce(bool_and(not d.is_stale and d.exported_at is not null), false)
       and not exists (select from weir.lake_marks m where m.day = $1::text::date) as is_whole
  from weir.lake_days d
 where d.day = $1::text::date and d.detached is not distinct from $2::text
