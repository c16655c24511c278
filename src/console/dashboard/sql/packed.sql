-- Of filtered_daily the rows of the key $4, and those of the values, with the group of lists $5; where some were left out, of the values
-- also the group $6, in which the key's own is: src/rollup/pack/mod.rs.
select extract(epoch from bucket)::bigint, source, part, is_whole,
       case $5 when 'figures' then figures when 'audience' then audience when 'pages' then pages when 'events' then events
               when 'vitals' then vitals end,
       case when not is_whole then case $6 when 'audience' then audience when 'pages' then pages when 'events' then events end end
  from analytics.filtered_daily
 where key in ('', $4)
   and bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
   and ($3::text is null or source = $3)
