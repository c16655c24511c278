select utm_source, utm_campaign, count(distinct visitor_id) as visitors
  from analytics.events
 where utm_campaign is not null and not is_bot and occurred_at >= current_date - 30
 group by utm_source, utm_campaign order by visitors desc
