-- The oldest that nobody keeps go, until what one person has fits.
delete from console.results
 where result_id in (
    select result_id
      from (select result_id, expires_at,
                   sum(octet_length(rows)) over (order by expires_at is null desc, started_at desc) as bytes
              from console.results
             where role = $1) r
     where bytes > $2 and expires_at is not null)
