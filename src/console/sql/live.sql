-- What is going on now, as one JSON object. Only the last half hour is read: ids of events begin with their time.
with recent as (
    select event_id, occurred_at, kind, visitor_id
      from analytics.events
     where occurred_at > now() - interval '30 minutes' and occurred_at <= now() + interval '1 minute' and not is_bot
), minutes as (
    select generate_series(date_trunc('minute', now()) - interval '29 minutes', date_trunc('minute', now()), interval '1 minute') as at
), counted as (
    select date_trunc('minute', occurred_at) as at, count(*) as views from recent where kind = 'page' group by 1
)
select json_build_object(
    'visitors_now', (select count(distinct visitor_id) from recent where occurred_at > now() - interval '5 minutes'),
    'per_minute', (select json_agg(json_build_object('at_ms', (extract(epoch from m.at) * 1000)::bigint, 'views', coalesce(c.views, 0)) order by m.at)
                     from minutes m left join counted c using (at)))::text
