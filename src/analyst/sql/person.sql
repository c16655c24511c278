-- What there is of the name $1, where $2 is the group of everybody. Since PostgreSQL 16 whoever made a group is a member, too, to whom nothing of it is passed on.
select exists (select from pg_roles where rolname = $1) as is_role,
       exists (select from pg_auth_members m
                 join pg_roles g on g.oid = m.roleid
                 join pg_roles r on r.oid = m.member
                where g.rolname = $2 and r.rolname = $1
                  and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) as is_person,
       exists (select from sync.sources s
                where s.schema = $1 or s.kind = 'foreign' and s.schema || '_live' = $1) as is_synced,
       (select pg_get_userbyid(nspowner)::text from pg_namespace where nspname = $1) as schema_owner
