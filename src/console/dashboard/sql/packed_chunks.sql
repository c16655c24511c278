-- Bytes of rows of filtered_daily of the days from $9 to before $10, in seconds since 1970, whose keys are among $8: of the row of day $1,
-- source $2, part $3 and key $4 those from $5 on, $6 of them; of the values' row the group of lists whose number is $5. $7 says whose they
-- are, and comes back, rising. (Only after they were sorted are bytes read. The index is by key and bucket: so rows are found once, and not for each.)
select asked, key, begins, case when key <> '' then substring(figures from begins + 1 for bytes) when begins = 1 then audience
                                when begins = 2 then pages when begins = 3 then events when begins = 4 then vitals end
  from (select wanted.asked, wanted.begins, wanted.bytes, key, figures, audience, pages, events, vitals
          from (select extract(epoch from bucket)::bigint as day_s, source, part, key, figures, audience, pages, events, vitals
                  from analytics.filtered_daily
                 where key = any ($8::bytea[]) and bucket >= to_timestamp($9::bigint) and bucket < to_timestamp($10::bigint)
                offset 0) as of_days
          join unnest($1::bigint[], $2::text[], $3::int[], $4::bytea[], $5::int[], $6::int[], $7::int[])
            as wanted (day_s, source, part, key, begins, bytes, asked) using (day_s, source, part, key)
         order by wanted.asked
        offset 0) as found
