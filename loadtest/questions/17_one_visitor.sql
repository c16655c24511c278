select occurred_at, kind, name, path
  from analytics.events
 where visitor_id = md5('visitor' || 31337)
 order by occurred_at
