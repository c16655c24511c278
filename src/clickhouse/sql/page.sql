select event_id, {checksum} as checksum
  from analytics.events
 where occurred_at >= $1 and occurred_at < $2 and event_id > $3 and event_id < $4
 order by event_id
 limit $5
