-- The demo's newest events as a JSON array. The ids of events begin with their time: so only the newest are looked at.
select coalesce(json_agg(e order by e.occurred_ms desc), '[]')::text
  from (select event_id, (extract(epoch from occurred_at) * 1000)::bigint as occurred_ms, kind, name, path, properties, visitor_id, user_id
          from analytics.events
         where occurred_at > now() - interval '15 minutes'
           and occurred_at < now() + interval '1 hour'
           and event_id > rpad(lpad(to_hex((extract(epoch from now() - interval '15 minutes') * 1000)::bigint), 12, '0'), 32, '0')::uuid
           and (path = '/demo' or path like '/demo/%')
           and source = $1
           and host = $2
         order by occurred_at desc
         limit 50) e
