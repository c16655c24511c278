-- Of filtered_daily the rows of the values, with the groups of lists $4, and the rows of the visits themselves whose keys are $5, or of
-- their events' properties; those of a part together, the values first: src/rollup/pack/mod.rs.
select extract(epoch from bucket)::bigint, key, figures,
       case when key = '' and 'audience' = any ($4::text[]) then audience end,
       case when key = '' and 'pages' = any ($4::text[]) then pages end,
       case when key = '' and 'events' = any ($4::text[]) then events end,
       case when key = '' and 'vitals' = any ($4::text[]) then vitals end
  from analytics.filtered_daily
 where key = any ($5::bytea[] || ''::bytea)
   and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
 order by bucket, source, part, key
