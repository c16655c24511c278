update weir.lake_days set is_stale = false, exported_at = now() where day = $1::text::date and part = $2 and attempt = $3
