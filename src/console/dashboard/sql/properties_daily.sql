-- Of the event $17: how often each property had each value. null: values that had no row of their own on their day.
with sums as (
    select key, value, sum(visitors)::bigint as visitors, sum(events)::bigint as events
      from analytics.properties_daily
     where bucket >= $1::text::timestamptz and bucket < $2::text::timestamptz
       and ($3::text is null or source = $3)
       and name = $17
     group by key, value
)
