select count(*) from analytics.events;
