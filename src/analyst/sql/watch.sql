-- Sessions of people, the members of the group $1, and of the roles that stand in for them, that go beyond what they may,
-- each with the reason. The limits are in
-- seconds: $2 of a statement, $3 of an idle transaction, $4 of a whole one. $5 are weir's advisory locks, and $6 the upper
-- half of all those that begin so.
select a.pid, r.rolname::text as role, case
           when a.state is null then 'unseen'
           when exists (select from pg_catalog.pg_locks l
                         where l.pid = a.pid and l.locktype = 'advisory' and l.objsubid = 1 and l.database = a.datid
                           and ((l.classid::bigint << 32) | l.objid::bigint = any ($5) or l.classid::bigint = $6))
               then 'advisory_lock'
           when a.state like 'idle in transaction%'
                and clock_timestamp() - a.state_change > make_interval(secs => $3) then 'idle_in_transaction'
           when a.state in ('active', 'fastpath function call')
                and clock_timestamp() - a.query_start > make_interval(secs => $2) then 'statement'
           when clock_timestamp() - a.xact_start > make_interval(secs => $4) then 'transaction'
       end as reason,
       concat_ws(' ', a.pid, extract(epoch from a.backend_start), extract(epoch from a.query_start)) as statement
  from pg_catalog.pg_stat_activity a
  join pg_catalog.pg_roles r on r.oid = a.usesysid
 where a.datname = current_database() and a.backend_type = 'client backend'
   and not r.rolsuper and r.rolname <> current_user
   and (r.rolname in (select role from weir.stand_ins)
     or r.oid in (select m.member from pg_catalog.pg_auth_members m
                   join pg_catalog.pg_roles g on g.oid = m.roleid
                  where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)))
