-- Of what nobody keeps the oldest go, until the rest fits; the newest stays in any case.
delete from console.results
 where result_id in (
    select result_id
      from (select result_id,
                   sum(octet_length(rows)) over (order by started_at desc, result_id) as bytes,
                   row_number() over (order by started_at desc, result_id) as place
              from console.results
             where role = $1 and expires_at is not null) r
     where bytes > $2 and place > 1)
