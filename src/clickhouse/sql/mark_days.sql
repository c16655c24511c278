select weir.mark_clickhouse(at, at + interval '24 hours')
  from (select day::timestamp at time zone 'UTC' as at from unnest($1::text[]) as day) days
