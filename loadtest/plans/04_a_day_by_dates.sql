select count(*) from analytics.events where occurred_at >= :'yesterday' and occurred_at < :'today';
