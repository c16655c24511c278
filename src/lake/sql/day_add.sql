insert into weir.lake_days (day, part, detached)
select $1::text::date, coalesce(max(part), 0) + 1, $2::text
  from weir.lake_days
 where day = $1::text::date
having not coalesce(bool_or(detached is not distinct from $2::text), false)
