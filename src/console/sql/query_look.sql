select q.query_id, q.slug, q.role, q.title, q.description, v.sql, v.chart::text, q.shares_results, v.version, q.version,
       q.link_key, q.cron, to_char(q.next_run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), q.schedule_error,
       to_char(q.changed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), q.forked_from
  from console.queries q
  join console.query_versions v on v.query_id = q.query_id and v.version = coalesce($2, q.version)
 where q.slug = $1
