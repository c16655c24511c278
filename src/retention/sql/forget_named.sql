-- Ids that one partition names together with those asked for: visitors that a user was, users that an alias says are one.
-- analytics.person_events follows the same.
select distinct id
  from (select event.visitor_id as id from only {table} event
         where event.user_id = any ($1) and event.visitor_id is not null and ($2::text is null or event.source = $2)
        union all
        select event.user_id from only {table} event
         where event.visitor_id = any ($1) and event.user_id is not null and event.kind = 'alias'
           and ($2::text is null or event.source = $2)) named
