-- Addresses of visitors among the newest events of the last hour: how many events have one, how many different ones, and whether
-- all of them are of private networks. Ids of events begin with their time.
select count(*) as events, count(distinct ip) as addresses,
       coalesce(bool_and(ip <<= any (array['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '127.0.0.0/8', '100.64.0.0/10',
                                           'fc00::/7', '::1/128', 'fe80::/10']::inet[])), false) as are_private
  from (select ip
          from analytics.events
         where occurred_at > now() - interval '1 hour' and occurred_at < now() + interval '2 hours'
           and event_id >= (lpad(to_hex((extract(epoch from now() - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
           and ip is not null and kind = 'page'
         order by event_id desc
         limit 5000) newest
