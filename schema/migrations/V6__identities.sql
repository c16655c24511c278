-- Names by which other products' clients know a source, and who an anonymous visitor turned out to be.
set local lock_timeout = '5s';

alter table weir.write_keys drop constraint write_keys_kind_check;
alter table weir.write_keys add constraint write_keys_kind_check check (kind in ('public', 'secret', 'alias'));
comment on column weir.write_keys.kind is 'public and secret keys are made by weir; an alias is what another product''s client sends in their place: a domain, a site id';

-- Each pair of a visitor and a user that events have named: a visitor who signs in, a user's earlier id.
create view analytics.identities as
select source, visitor_id, user_id, min(occurred_at) as first_seen_at, max(occurred_at) as last_seen_at
  from analytics.events
 where visitor_id is not null and user_id is not null
 group by source, visitor_id, user_id;
comment on view analytics.identities is 'Which visitors are which users: pairs that events have named, by identify, alias, or both ids in one event.';

-- All events of a person, before and after sign-up. An alias says that two ids are one person, whichever it names first: clients differ.
-- Any other event with both ids says which visitor a user was. What another user did on the same device is not theirs.
create function analytics.person_events(person text) returns setof analytics.events
language sql stable parallel safe
set search_path = pg_catalog
as $$
    with recursive ids (id) as (
        select person
        union
        select other.id
          from ids,
               lateral (select e.visitor_id from analytics.events e where e.user_id = ids.id and e.visitor_id is not null
                        union all
                        select e.user_id from analytics.events e
                         where e.visitor_id = ids.id and e.user_id is not null and e.kind = 'alias') as other (id))
    select e.*
      from analytics.events e
     where e.user_id in (select id from ids)
        or (e.user_id is null and e.visitor_id in (select id from ids))
     order by e.occurred_at
$$;
comment on function analytics.person_events is 'Every event of a user, those before sign-up and under earlier ids included.';
