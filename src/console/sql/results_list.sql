select r.result_id, r.role, q.slug, r.version, r.title, left(r.sql, 200), '{}', null::text,
       to_char(r.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), r.duration_ms, '[]', r.row_count,
       r.byte_count, r.cut, r.visibility <> 'private', r.link_key,
       to_char(r.expires_at at time zone 'UTC', 'YYYY-MM-DD')
  from console.results r
  left join console.queries q using (query_id)
 where case when $2 then r.role = $1 else r.visibility <> 'private' end
 order by r.started_at desc
 limit 200
