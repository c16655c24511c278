-- The sources there are, and how far the rollups are: whether one is there with the columns that the dashboard reads, how many days
-- are missing, for how many seconds the oldest change waits, and whether its last run failed.
with needed (name, columns, upstream) as (
    values ('sessions', array['pages', 'event_names', 'vitals', 'utm_source', 'region', 'is_only_visit'], 'sessions'),
           ('visits_daily', array['dimension', 'value', 'visitors', 'visits', 'page_views', 'bounces', 'duration_ms'], 'sessions'),
           ('pages_daily', array['path', 'visitors', 'visits', 'page_views', 'entries', 'bounces', 'exits'], 'sessions'),
           ('filtered_daily', array['minute', 'events', 'duration_ms', 'referrer', 'pages', 'event_names', 'vitals'], 'sessions'),
           ('events_daily', array['kind', 'name', 'events', 'without_visitor', 'visitors'], 'events_daily'),
           ('properties_daily', array['name', 'key', 'value', 'events', 'visitors'], 'properties_daily'),
           ('web_vitals_spread_daily', array['metric', 'value', 'views'], 'web_vitals_spread_daily')
), marks as (
    select r.name, r.state, r.columns, r.error, count(distinct d.bucket) filter (where d.is_fill) as fill,
           count(distinct d.bucket) as dirty, min(d.noted_at) as since
      from weir.rollups r
      left join weir.rollup_dirty d using (rollup_id)
     group by r.rollup_id
)
select 'rollup', n.name,
       coalesce((live.columns @> n.columns)::integer, 0)::bigint,
       -- A rollup that reads another one is filled by changes. A few days always wait; more are an import, or a first filling.
       case when live.columns @> n.columns
            then greatest(live.fill, upstream.fill, case when live.dirty > 7 then live.dirty end)
            else coalesce(building.fill, 0) end,
       coalesce(extract(epoch from now() - live.since), 0)::bigint,
       (coalesce(building.error, live.error) is not null)::integer::bigint,
       0::bigint
  from needed n
  left join marks live on live.name = n.name and live.state = 'live'
  left join marks building on building.name = n.name and building.state = 'building'
  left join marks upstream on upstream.name = n.upstream and upstream.state = 'live'
union all
select 'source', source, 0, 0, 0, 0, 0 from weir.sources
order by 1, 2
