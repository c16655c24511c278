select count(*) from analytics.events where occurred_at >= now() - interval '1 hour';
