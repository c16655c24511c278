-- What PostgreSQL has from $1 to $2 (microseconds since 1970), by hour. Ids begin with the time: so few are read for an hour.
select (extract(epoch from date_trunc('hour', occurred_at, 'UTC')) * 1000000)::bigint as hour_us,
       count(*) as rows, (sum({checksum}) % 18446744073709551616)::text as checksum
  from analytics.events
 where occurred_at >= $1 and occurred_at < $2 and event_id > $3 and event_id < $4
 group by 1
