-- The events within these visits: until half an hour after the last, when the next one would begin.
, within as (
    select v.bucket, e.source, e.visitor_id, e.kind, e.name, e.properties
      from visits v
      join analytics.events e
        on e.source = v.source and e.visitor_id = v.visitor_id
       and e.occurred_at >= v.started_at
       and e.occurred_at <= v.started_at + make_interval(secs => v.duration_s) + interval '30 minutes'
     where not e.is_bot
       -- Visits that began in the period end some hours after it.
       and e.occurred_at >= $1::text::timestamptz and e.occurred_at < $2::text::timestamptz + interval '7 hours'
)
