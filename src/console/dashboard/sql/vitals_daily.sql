with counted as (
    select metric, value, sum(views)::bigint as views
      from analytics.web_vitals_spread_daily
     where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
       and ($3::text is null or source = $3)
     group by metric, value
)
