-- Days of rows that found no partition of their own: days since 1970-01-01.
select distinct ((occurred_at at time zone 'UTC')::date - date '1970-01-01')::int as day
  from (select occurred_at
          from only analytics.events_default
         -- What has no day that a partition could be named for stays.
         where occurred_at >= '0001-01-02 00:00:00+00' and occurred_at < '9999-12-30 00:00:00+00'
         limit 10000) stray
 order by day
 limit 100
