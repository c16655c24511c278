select indexrelid::regclass::text as index from pg_index where indrelid = $1::text::regclass order by indexrelid
