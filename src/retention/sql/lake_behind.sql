-- Days with objects in a lake that do not say what the database says now.
select count(distinct d.day) as days
  from weir.lake_days d
  join weir.lake_files f using (day, part)
 where d.dropped_at is null
   and (d.is_stale or exists (select from weir.lake_marks m where m.day = d.day))
