select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type
  from pg_attribute a
 where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped
 order by a.attnum
