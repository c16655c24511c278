select coalesce(sum(f.rows), 0)::bigint as rows
  from weir.lake_files f join weir.lake_days d using (day, part)
 where d.detached = $1
