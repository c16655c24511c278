-- The newest $2 rows still in quarantine, older than the row $1.
select id, to_char(quarantined_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as quarantined_at, source, sqlstate,
       left(message, $3) as message, left(event, $4) as event, length(event) > $4 as is_cut
  from weir.quarantine
 where outcome = 'quarantined' and ($1::bigint is null or id < $1)
 order by id desc
 limit $2
