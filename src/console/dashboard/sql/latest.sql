-- When the latest visit of the source was, of all time.
select 'latest', max(bucket)::date::text, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint
  from analytics.visits_daily
 where dimension = 'all' and ($3::text is null or source = $3)
having max(bucket) is not null
