select id
  from weir.quarantine
 where outcome = 'quarantined' and ($1::bigint is null or id = $1)
 order by id
