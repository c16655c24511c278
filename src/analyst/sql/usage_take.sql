-- The counters of the people in the group $1, as a new round; {schema} is that of the extension.
insert into weir.usage_statements (round, userid, queryid, calls, exec_ms, rows, blocks_read, blocks_hit, temp_blocks)
select coalesce((select max(round) from weir.usage_statements), 0) + 1, s.userid, s.queryid, sum(s.calls)::bigint,
       sum(s.total_exec_time), sum(s.rows)::bigint, sum(s.shared_blks_read)::bigint, sum(s.shared_blks_hit)::bigint,
       sum(s.temp_blks_written)::bigint
  from {schema}.pg_stat_statements s
 where s.toplevel and s.queryid is not null
   and s.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
   and s.userid in (select m.member from pg_catalog.pg_auth_members m
                      join pg_catalog.pg_roles g on g.oid = m.roleid
                     where g.rolname = $1 and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true))
   and s.userid <> (select oid from pg_catalog.pg_roles where rolname = current_user)
 group by s.userid, s.queryid
