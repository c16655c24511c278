select count(*) as rows
  from only {table} event
 where ($1::text is null or event.source = $1)
   and ($2::text is null or event.kind = $2)
   and not exists (select from unnest($3::text[], $4::text[]) as earlier (source, kind)
                    where (earlier.source is null or earlier.source = event.source)
                      and (earlier.kind is null or earlier.kind = event.kind))
