-- Columns by which rows of $1 fit into $2.
select quote_ident(new.attname) as name
  from pg_attribute old
  join pg_attribute new on new.attname = old.attname and new.atttypid = old.atttypid
 where old.attrelid = $1::text::regclass and new.attrelid = $2::text::regclass
   and old.attnum > 0 and not old.attisdropped and not new.attisdropped
 order by new.attnum
