-- kind: incremental
-- every: 5m
-- bucket: day
-- unique: bucket, source, kind, name
-- description: Events of each kind and name in each day, how many have no visitor, and how many visitors and users the others are of, without bots.
select bucket, source, kind, name,
       count(*)                   as events,
       count(*) filter (where visitor_id is null) as without_visitor,
       count(distinct visitor_id) as visitors,
       count(distinct user_id)    as users
  from events
 where not is_bot
 group by bucket, source, kind, name;
