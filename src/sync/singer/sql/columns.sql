-- The columns of the relation $1, with their types.
select a.attname::text, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = any (i.indkey), false) as is_key
  from pg_attribute a
  left join pg_index i on i.indrelid = a.attrelid and i.indisprimary
 where a.attrelid = to_regclass($1::text) and a.attnum > 0 and not a.attisdropped
 order by a.attnum
