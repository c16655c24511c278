-- Of each source: whether it may send, its last event, how many in the last minute, and how many ever; as a JSON array.
-- Only the newest $1 rows of the last hour are read: ids of events begin with their time. Where there are more, what they
-- tell of the last minute is extended to all of it. An older event's time is that of the last report of its source, which comes
-- again when a file of the journal is released: so it is not younger than what was read.
with newest as materialized (
    select source, occurred_at
      from analytics.events
     where occurred_at > now() - interval '1 hour' and occurred_at < now() + interval '2 hours'
       and event_id >= (lpad(to_hex((extract(epoch from now() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
     order by event_id desc
     limit $1
), since as (
    select case when count(*) < $1 then now() - interval '1 hour' else min(occurred_at) end as at from newest
), seen as (
    select n.source, max(n.occurred_at) as last_at,
           count(*) filter (where n.occurred_at > now() - interval '1 minute' and n.occurred_at <= now() + interval '1 minute') as events
      from newest n
     group by n.source
), promised as (
    select source, sum(accepted)::bigint as accepted, max(updated_at) as told_at from weir.promises group by source
)
select coalesce(json_agg(json_build_object(
           'source', s.source,
           'is_enabled', s.disabled_at is null,
           'last_event_ms', (extract(epoch from coalesce(n.last_at, case when p.told_at is not null then least(p.told_at, since.at) end)) * 1000)::bigint,
           'events_last_minute', round(coalesce(n.events, 0) * greatest(1, 60 / greatest(extract(epoch from now() - since.at), 0.5)))::bigint,
           'accepted', coalesce(p.accepted, 0)) order by s.source), '[]')::text
  from (select source, disabled_at from weir.sources order by source limit $2) s
 cross join since
  left join seen n using (source)
  left join promised p using (source)
