-- Tables and views that weir may read there, with their columns in order. Runs on the application's server, 9.3 and later.
select n.nspname::text as schema, c.relname::text as name,
       array_agg(a.attname::text order by a.attnum) as names, array_agg(a.atttypid::bigint order by a.attnum) as types,
       c.relkind in ('r', 'p', 'f') as is_table
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'information_schema' and n.nspname not like 'pg\_%'
   and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
   and not exists (select from pg_inherits i join pg_class p on p.oid = i.inhparent and p.relkind = 'p' where i.inhrelid = c.oid)
 group by n.nspname, c.relname, c.relkind
 order by 1, 2
