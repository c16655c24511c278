insert into weir.retention_runs as run (run_at, day, action, rule, rows, detail)
values ($1::text::timestamptz, $2::text::date, $3, $4, $5, $6)
on conflict (run_at, day, action, rule, detail) do update set rows = run.rows + excluded.rows, noted_at = now()
