-- Whether the role $1 is there and is not $2's stand-in. One that an interrupted command left has no row in weir.stand_ins,
-- and neither rights nor belongings: it is taken up again.
select exists (
  select from pg_catalog.pg_roles r
   where r.rolname = $1
     and not exists (select from weir.stand_ins s where s.role = r.rolname and s.person = $2)
     and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
          or exists (select from pg_catalog.pg_auth_members m
                      where m.member = r.oid and pg_catalog.pg_get_userbyid(m.roleid) <> $2)
          or exists (select from pg_catalog.pg_shdepend d
                      where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.refobjid = r.oid
                        and d.deptype = 'o')))
