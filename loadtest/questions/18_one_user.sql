select occurred_at, kind, name, path
  from analytics.events
 where user_id = 'user-31337'
 order by occurred_at desc limit 100
