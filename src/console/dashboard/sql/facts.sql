-- The sources there are, and how far the rollups are: whether one is there with the columns that the dashboard reads, how many
-- buckets of a first filling wait, for how many seconds the oldest change waits, and whether its last run failed.
with needed (name, columns) as (
    values ('sessions', array['pages', 'event_names', 'utm_source', 'region']),
           ('visits_daily', array['dimension', 'value', 'visitors', 'visits', 'page_views', 'bounces', 'duration_ms']),
           ('pages_daily', array['path', 'visitors', 'visits', 'page_views', 'entries', 'bounces', 'exits']),
           ('events_daily', array['kind', 'name', 'events', 'without_visitor', 'visitors']),
           ('web_vitals_spread_daily', array['metric', 'value', 'views'])
), waiting as (
    select rollup_id, count(distinct bucket) filter (where is_fill) as fill, min(noted_at) as since
      from weir.rollup_dirty
     group by rollup_id
)
select 'rollup', n.name,
       coalesce((live.columns @> n.columns)::integer, 0)::bigint,
       coalesce(building_waiting.fill, 0),
       coalesce(extract(epoch from now() - live_waiting.since), 0)::bigint,
       (coalesce(building.error, live.error) is not null)::integer::bigint,
       0::bigint
  from needed n
  left join weir.rollups live on live.name = n.name and live.state = 'live'
  left join waiting live_waiting on live_waiting.rollup_id = live.rollup_id
  left join weir.rollups building on building.name = n.name and building.state = 'building'
  left join waiting building_waiting on building_waiting.rollup_id = building.rollup_id
union all
select 'source', source, 0, 0, 0, 0, 0 from weir.sources
order by 1, 2
