-- Of filtered_daily the rows of the values, with the groups of lists $4, and those of the visits' columns: whole if their keys are among
-- $5, the first $7 bytes if among $6. Those of a part together, the values first: src/rollup/pack/mod.rs.
select extract(epoch from bucket)::bigint, source, part, key,
       case when key = any ($5::bytea[]) then figures when key <> '' then substring(figures for $7::int) end,
       case when key = '' and 'audience' = any ($4::text[]) then audience end,
       case when key = '' and 'pages' = any ($4::text[]) then pages end,
       case when key = '' and 'events' = any ($4::text[]) then events end
  from analytics.filtered_daily
 where key = any ($5::bytea[] || $6::bytea[] || ''::bytea)
   and bucket >= to_timestamp($1::bigint) and bucket < to_timestamp($2::bigint)
   and ($3::text is null or source = $3)
 order by bucket, source, part, key
