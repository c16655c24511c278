-- What the newest round has more than the one before. A counter that is lower than it was began anew: the entry was evicted,
-- or all were reset.
with rounds as (
    select max(round) as newest from weir.usage_statements
), added as (
    select n.userid, n.calls - coalesce(b.calls, 0) as calls, n.exec_ms - coalesce(b.exec_ms, 0) as exec_ms,
           n.rows - coalesce(b.rows, 0) as rows, n.blocks_read - coalesce(b.blocks_read, 0) as blocks_read,
           n.blocks_hit - coalesce(b.blocks_hit, 0) as blocks_hit, n.temp_blocks - coalesce(b.temp_blocks, 0) as temp_blocks
      from weir.usage_statements n
      left join weir.usage_statements b
        on b.round = n.round - 1 and (b.userid, b.queryid) = (n.userid, n.queryid)
       and b.calls <= n.calls and b.exec_ms <= n.exec_ms
     where n.round = (select newest from rounds)
)
insert into weir.usage_days as days (person, day, statements, exec_seconds, rows, blocks_read, blocks_hit, temp_bytes, seen_at)
select r.rolname, (now() at time zone 'UTC')::date, sum(a.calls)::bigint, sum(a.exec_ms) / 1000, sum(a.rows)::bigint,
       sum(a.blocks_read)::bigint, sum(a.blocks_hit)::bigint,
       (sum(a.temp_blocks) * current_setting('block_size')::bigint)::bigint,
       case when sum(a.calls) > 0 then now() end
  from added a
  join pg_catalog.pg_roles r on r.oid = a.userid
 group by r.rolname
on conflict (person, day) do update
   set statements = coalesce(days.statements, 0) + excluded.statements,
       exec_seconds = coalesce(days.exec_seconds, 0) + excluded.exec_seconds,
       rows = coalesce(days.rows, 0) + excluded.rows,
       blocks_read = coalesce(days.blocks_read, 0) + excluded.blocks_read,
       blocks_hit = coalesce(days.blocks_hit, 0) + excluded.blocks_hit,
       temp_bytes = coalesce(days.temp_bytes, 0) + excluded.temp_bytes,
       seen_at = coalesce(excluded.seen_at, days.seen_at)
