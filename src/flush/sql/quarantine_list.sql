select id, to_char(quarantined_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as quarantined_at, source, sqlstate, message, event
  from weir.quarantine
 where outcome = 'quarantined'
 order by id desc
 limit $1
