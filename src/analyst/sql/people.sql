-- Everybody: $1 is their group, $2 that of operators; $3 are synced schemas, and $4 the groups that read them.
with readers as (
    select s.schema, m.member
      from unnest($3::text[], $4::text[]) as s (schema, readers)
      join pg_catalog.pg_roles g on g.rolname = s.readers
      join pg_catalog.pg_auth_members m on m.roleid = g.oid and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
)
select r.rolname::text as name, r.rolcanlogin as can_login, r.rolconnlimit as connections_max,
       exists (select from pg_catalog.pg_auth_members o
                 join pg_catalog.pg_roles g on g.oid = o.roleid
                where g.rolname = $2 and o.member = r.oid
                  and coalesce((to_jsonb(o) ->> 'inherit_option')::boolean, true)) as is_operator,
       array(select distinct d.schema from readers d where d.member in (r.oid, p.roleid) order by 1) as schemas,
       (select count(*) from pg_catalog.pg_stat_activity a
         where a.usesysid = r.oid and a.datname = current_database()) as connections,
       (select u.schema_bytes from weir.usage_days u
         where u.person = r.rolname and u.schema_bytes is not null order by u.day desc limit 1) as schema_bytes,
       (select to_char(max(u.seen_at) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from weir.usage_days u
         where u.person = r.rolname) as seen_at
  from (select distinct m.roleid, m.member
          from pg_catalog.pg_auth_members m
          join pg_catalog.pg_roles g on g.oid = m.roleid
         where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)) p
  join pg_catalog.pg_roles r on r.oid = p.member
 order by r.rolname
