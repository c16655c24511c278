-- Objects that are in their place, as they were written; and, without bytes, those that may be.
select to_char(f.day, 'YYYY-MM-DD') as day, f.part, f.source, f.bytes, f.e_tag, d.is_stale, d.dropped_at is not null as is_dropped
  from weir.lake_files f join weir.lake_days d using (day, part)
 order by f.day, f.part, f.source
