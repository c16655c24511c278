insert into weir.retention_swept as swept (day, rules, inserted, blocks) values ($1::text::date, $2, $3, $4)
on conflict (day) do update set rules = excluded.rules, inserted = excluded.inserted, blocks = excluded.blocks
