-- The members of $1 that are not by way of another, each with whoever granted it.
select m.member::regrole::text as member, min(m.grantor::regrole::text) as grantor
  from pg_catalog.pg_auth_members m
  join pg_catalog.pg_roles g on g.oid = m.roleid
 where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
 group by m.member
 order by 1
