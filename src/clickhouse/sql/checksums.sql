select event_id, {checksum} as checksum
  from analytics.events
 where occurred_at >= $1 and occurred_at < $2 and event_id = any ($3)
