-- As before, without a recursive query and without a parameter in plain SQL: Citus has neither, where events are distributed.
set local lock_timeout = '5s';

create or replace function analytics.person_events(person text) returns setof analytics.events
language plpgsql stable parallel safe
set search_path = pg_catalog
as $$
declare
    ids   text[] := array[person];
    asked text[] := ids;
begin
    while cardinality(asked) > 0 loop
        asked := array (
            select distinct other.id
              from (select e.visitor_id from analytics.events e where e.user_id = any (asked) and e.visitor_id is not null
                    union all
                    select e.user_id from analytics.events e
                     where e.visitor_id = any (asked) and e.user_id is not null and e.kind = 'alias') as other (id)
             where other.id <> all (ids));
        ids := ids || asked;
    end loop;
    return query
        select e.*
          from analytics.events e
         where e.user_id = any (ids)
            or (e.user_id is null and e.visitor_id = any (ids))
         order by e.occurred_at;
end
$$;
