select count(*) from analytics.events where occurred_at >= current_date - 3 and occurred_at < current_date - 2;
