select q.slug, q.role, q.title, q.description, to_char(q.changed_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), q.cron,
       (select to_char(max(r.started_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from console.results r where r.query_id = q.query_id),
       q.schedule_error is not null
  from console.queries q
  join console.query_versions v on v.query_id = q.query_id and v.version = q.version
 where ($1::text is null or q.role = $1)
   and ($2 = '' or position(lower($2) in lower(concat_ws(' ', q.title, q.description, q.slug, v.sql))) > 0)
 order by q.changed_at desc
 limit 500
