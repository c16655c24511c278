-- Of filtered_daily the rows of the values and of the visits themselves, those of a part together; of these the groups of lists $4:
-- src/rollup/pack/mod.rs.
select extract(epoch from bucket)::bigint, is_whole is not null,
       case when 'figures' = any ($4::text[]) then figures end,
       case when 'audience' = any ($4::text[]) then audience end,
       case when 'pages' = any ($4::text[]) then pages end,
       case when 'events' = any ($4::text[]) then events end
  from analytics.filtered_daily
 where key in ('', '\x01')
   and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
 order by bucket, source, part, key
