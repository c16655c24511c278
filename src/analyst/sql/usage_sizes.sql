-- How large what each person of the group $1 has is, and who is at work.
insert into weir.usage_days as days (person, day, schema_bytes, seen_at)
select r.rolname, (now() at time zone 'UTC')::date,
       (select coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint
          from pg_catalog.pg_class c
          join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspowner = r.oid and c.relkind in ('r', 'm')),
       case when exists (select from pg_catalog.pg_stat_activity a
                          where a.usesysid = r.oid and a.datname = current_database()) then now() end
  from pg_catalog.pg_roles r
 where r.rolname <> current_user
   and r.oid in (select m.member from pg_catalog.pg_auth_members m
                   join pg_catalog.pg_roles g on g.oid = m.roleid
                  where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true))
on conflict (person, day) do update
   set schema_bytes = excluded.schema_bytes, seen_at = coalesce(excluded.seen_at, days.seen_at)
