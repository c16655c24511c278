-- The newest events of the last hour, and where all events are, as one JSON object.
select json_build_object(
    'events', (select coalesce(json_agg(e order by e.event_id desc), '[]') from (
        select event_id, to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as occurred_at, source, kind, name, path,
               visitor_id, country, browser, properties
          from analytics.events
         where occurred_at > now() - interval '1 hour' and occurred_at < now() + interval '2 hours'
         order by event_id desc
         limit 100) e),
    'accounting', (select coalesce(json_agg(a order by a.source), '[]') from weir.accounting a))::text
