update weir.lake_files f
   set rows = $4, bytes = $5, e_tag = $6, written_at = now()
  from weir.lake_days d
 where f.day = $1::text::date and f.part = $2 and f.source = $3
   and d.day = f.day and d.part = f.part and d.attempt = $7
