-- Relations of the schema $1 that the group $2 cannot read yet, and that are ours to grant.
select format('%I.%I', n.nspname, c.relname)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and not has_table_privilege($2::text::name, c.oid, 'select')
   and pg_has_role(current_user, c.relowner, 'usage')
 order by c.relname
