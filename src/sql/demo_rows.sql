-- The demo's newest events as a JSON array.
select coalesce(json_agg(e order by e.occurred_ms desc), '[]')::text
  from (select event_id, (extract(epoch from occurred_at) * 1000)::bigint as occurred_ms, kind, name, path, properties, visitor_id, user_id
          from analytics.events
         where occurred_at > now() - interval '1 hour'
           and occurred_at < now() + interval '1 hour'
           and (path = '/demo' or path like '/demo/%')
           and source = $1
         order by occurred_at desc
         limit 50) e
