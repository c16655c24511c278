-- Every part of every day, with what waits and what is in the store. $1: hours that late events wait.
select to_char(d.day, 'YYYY-MM-DD') as day, d.part, d.detached, d.is_stale, d.dropped_at is not null as is_dropped,
       to_char(d.exported_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as exported_at,
       marks.since is not null as is_marked, coalesce(marks.is_due, false) as is_due,
       extract(epoch from now() - least(case when d.is_stale then d.stale_since end, marks.since))::double precision as waiting_s,
       files.files, files.rows, files.bytes
  from weir.lake_days d
 cross join lateral (select min(m.noted_at) as since,
                            bool_or(m.is_urgent or m.noted_at <= now() - make_interval(hours => $1)) as is_due
                       from weir.lake_marks m where m.day = d.day and d.dropped_at is null) marks
 cross join lateral (select count(*) as files, coalesce(sum(f.rows), 0)::bigint as rows, coalesce(sum(f.bytes), 0)::bigint as bytes
                       from weir.lake_files f where f.day = d.day and f.part = d.part and f.bytes is not null) files
 order by d.day, d.part
