with refused as (
    insert into weir.import_refusals (import_id, number, line, reason)
    select $1, $7 + number, line, reason
      from unnest($5::bigint[], $6::text[]) with ordinality as refused (line, reason, number)
)
update weir.imports
   set read = $2, refused = $3, outside = $8, updated_at = now(), finished_at = case when $4 then now() end
 where import_id = $1
