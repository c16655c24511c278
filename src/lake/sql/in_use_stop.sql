delete from weir.lake
returning url, to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since,
          greatest(extract(epoch from now() - seen_at), 0)::double precision as silent_s
