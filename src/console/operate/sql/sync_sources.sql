-- Each source of other data, with its last run, and what is known of an application's PostgreSQL.
select s.source, s.kind, r.outcome, r.rows, r.rejected, coalesce(r.error, p.error) as error,
       to_char(r.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as started_at,
       extract(epoch from r.started_at)::bigint as started_s,
       extract(epoch from now() - d.started_at)::double precision as behind_s,
       p.slot_state, p.slot_bytes, p.lag_s, p.live, p.to_copy, p.left_out, p.gone
  from sync.sources s
  left join lateral (select * from sync.runs r where r.source = s.source order by r.run_id desc limit 1) r on true
  left join lateral (select r.started_at from sync.runs r
                      where r.source = s.source and r.outcome = 'done' order by r.run_id desc limit 1) d on true
  left join sync.replication_status p on p.source = s.source
 order by s.source
 limit $1
