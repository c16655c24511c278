-- The events of the period's days.
with within as (
    select date_trunc('day', occurred_at, 'UTC') as bucket, source, visitor_id, kind, name, properties
      from analytics.events
     where occurred_at >= $1::text::timestamptz and occurred_at < $2::text::timestamptz
       and ($3::text is null or source = $3)
       and not is_bot
)
