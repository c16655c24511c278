select id, event, tuple
  from weir.quarantine
 where id > $1 and ($3::text is null or source = $3) and tuple <> ''
 order by id
 limit $2
