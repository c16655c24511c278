-- What was removed on purpose: by retention, and because a person asked for it.
set local lock_timeout = '5s';

-- How many rows of analytics.events are gone. weir.accounting tells what was stored, and stays as it is; the rows to be found
-- now are those less these. Written in the transaction that removes.
create table weir.removed (
    source     text        not null,
    reason     text        not null check (reason in ('retention', 'forgotten')),
    rows       bigint      not null,
    updated_at timestamptz not null default now(),
    primary key (source, reason)
) with (fillfactor = 50);
comment on table weir.removed is 'Rows taken out of analytics.events on purpose, ever: stored less these are there.';

-- What retention did, a row for each day and rule of a run; the newest are kept.
create table weir.retention_runs (
    id       bigint      generated always as identity primary key,
    run_at   timestamptz not null,  -- when the run began
    noted_at timestamptz not null default now(),
    day      date        not null,
    action   text        not null check (action in ('detached', 'archived', 'dropped', 'deleted')),
    rule     text        not null,  -- whose time was over: 'events' for retention.events
    rows     bigint      not null,
    detail   text        not null default '',  -- the table detached or dropped, the file written
    unique (run_at, day, action, rule, detail)
);
comment on table weir.retention_runs is 'What retention removed, by day and rule: the newest rows only; weir.removed has the sums.';

-- What the rules have been applied to: a partition that has not changed since is not read again.
create table weir.retention_swept (
    day      date   primary key,
    rules    text   not null,
    inserted bigint not null,  -- by the statistics of PostgreSQL, before it was read
    blocks   bigint not null
);

-- Requests to forget a person. Who it was stands here only until it is done, so that a request which was cut short finds
-- what the events that are gone already told.
create table weir.forget_requests (
    id           bigint      generated always as identity primary key,
    requested_at timestamptz not null default now(),
    finished_at  timestamptz,
    kind         text        not null check (kind in ('visitor', 'user')),
    source       text,                          -- null: all
    person       text,
    ids          text[]      not null default '{}',  -- all visitors and users that the person was
    rows         bigint      not null default 0,     -- of all tables
    constraint nobody_is_remembered check (finished_at is null or (person is null and ids = '{}'))
);
comment on table weir.forget_requests is 'When persons were forgotten, and how many rows went; of whom, only until it is done.';

-- A refused row of a forgotten person stays as a number for weir.accounting, with nothing of the event in it.
alter table weir.quarantine drop constraint quarantine_outcome_check;
alter table weir.quarantine add constraint quarantine_outcome_check
    check (outcome in ('quarantined', 'stored', 'duplicate', 'forgotten'));

-- As before, in a form that uses the indexes on visitor_id and user_id that days have once they are over.
create or replace function analytics.person_events(person text) returns setof analytics.events
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
     where e.user_id = any (array (select id from ids))
        or (e.user_id is null and e.visitor_id = any (array (select id from ids)))
     order by e.occurred_at
$$;
