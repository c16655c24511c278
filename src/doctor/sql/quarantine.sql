select count(*) as rows, min(sqlstate) as sqlstate, min(message) as message
  from (select sqlstate, message from weir.quarantine where outcome = 'quarantined' limit 10001) waiting
