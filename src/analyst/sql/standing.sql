-- Whether the role $1 is one of the group $2, and one of $3. Who may not log in is nobody.
select exists (select from pg_catalog.pg_auth_members m
                 join pg_catalog.pg_roles g on g.oid = m.roleid
                where g.rolname = $2 and m.member = r.oid
                  and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) as is_analyst,
       exists (select from pg_catalog.pg_auth_members m
                 join pg_catalog.pg_roles g on g.oid = m.roleid
                where g.rolname = $3 and m.member = r.oid
                  and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) as is_operator
  from pg_catalog.pg_roles r
 where r.rolname = $1 and r.rolcanlogin
