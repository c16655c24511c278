-- Days of rows that found no partition of their own: days since 1970-01-01.
select distinct ((occurred_at at time zone 'UTC')::date - date '1970-01-01')::int as day
  from (select occurred_at from only analytics.events_default limit 10000) stray
 order by day
 limit 100
