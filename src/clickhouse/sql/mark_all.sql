-- Every day that there is: by its partition, and by what found no partition, which will have one soon.
select count(weir.mark_clickhouse(at, at + interval '24 hours')) as days
  from (select to_date(substr(c.relname, 8), 'YYYYMMDD')::timestamp at time zone 'UTC' as at
          from pg_inherits i
          join pg_class c on c.oid = i.inhrelid
         where i.inhparent = 'analytics.events'::regclass and c.relname ~ '^events_[0-9]{8}$'
        union
        select date_trunc('day', occurred_at, 'UTC') from only analytics.events_default where isfinite(occurred_at)) days
