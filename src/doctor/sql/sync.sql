-- The last run of each source of other data that failed, and replication that stands still.
select s.source, r.outcome, coalesce(p.error, r.error) as error
  from sync.sources s
  left join lateral (select outcome, error from sync.runs r
                      where r.source = s.source and r.outcome <> 'running' order by r.run_id desc limit 1) r on true
  left join sync.replications p using (source)
 where r.outcome in ('failed', 'lost') or p.error is not null
 order by s.source
 limit 100
