select events_named, ranges_marked, waiting_s, is_followed, error,
       to_char(succeeded_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as succeeded_at,
       to_char(failing_since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as failing_since
  from weir.clickhouse_status
