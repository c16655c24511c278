-- Sync: the company's other data, brought here. What is known of each source, of its streams, and what its runs came to.
set local lock_timeout = '5s';

create schema sync;
comment on schema sync is 'What brings other data here: its sources, their runs, and what could not be taken.';

create table sync.sources (
    source     text        primary key,              -- its name in the settings
    kind       text        not null check (kind in ('singer', 'postgres', 'foreign')),
    schema     text        not null,                 -- of its tables
    state      jsonb,                                -- a tap's last STATE: written in the transaction with the rows it covers
    batch      bigint      not null default 0,       -- of its last flush
    covered    bigint      not null default 0,       -- of the last flush that the state covers, with all before
    run_id     bigint,                               -- only this run may write: another one has ended, or is told that it has
    made_at    timestamptz not null default now()
);
comment on table sync.sources is 'Each source of other data, and how far it has been read.';

create table sync.streams (
    source  text   not null references sync.sources on delete cascade,
    stream  text   not null,
    relation text  not null,                         -- its table, in the source's schema
    key     text[] not null,                         -- columns; empty: rows are only added
    columns jsonb  not null,                         -- property -> column
    views   jsonb  not null default '{}',            -- those that weir has made on it: name -> SELECT
    primary key (source, stream),
    unique (source, relation)
);
comment on table sync.streams is 'Which table a stream goes to, and which of its columns a property.';

create table sync.runs (
    run_id      bigint      generated always as identity primary key,
    source      text        not null references sync.sources on delete cascade,
    started_at  timestamptz not null default clock_timestamp(),
    seen_at     timestamptz not null default clock_timestamp(),   -- when it last wrote
    finished_at timestamptz,
    outcome     text        not null default 'running' check (outcome in ('running', 'done', 'failed', 'lost')),
    rows        bigint      not null default 0,      -- records taken
    rejected    bigint      not null default 0,      -- records that are in sync.rejects
    error       text,
    log         text                                 -- the end of what the tap said
);
create index runs_source on sync.runs (source, run_id);
comment on table sync.runs is 'What the latest runs of each source came to.';

create table sync.rejects (
    reject_id   bigint      generated always as identity primary key,
    run_id      bigint      not null,
    source      text        not null references sync.sources on delete cascade,
    stream      text,
    reason      text        not null,
    record      text        not null,                -- as the tap wrote it
    batch       bigint      not null default 0,      -- of the flush that wrote it
    rejected_at timestamptz not null default now()
);
create index rejects_source on sync.rejects (source, reject_id);
comment on table sync.rejects is 'Records that fit no table, whole, each with its reason.';

-- The moment that a text names, as RFC 3339 writes it, without an offset in UTC; null for whatever else. Without an exception block, which would keep
-- queries from running in parallel: so it says itself how long months are.
create function sync.as_time(value text) returns timestamptz
language sql stable strict parallel safe
return case
    when value !~ '^[12]\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|[12]\d))([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]([01]\d):?[0-5]\d)?)?$' then null
    when substr(value, 6, 5) = '02-29' and extract(day from (substr(value, 1, 4) || '-03-01')::date - 1) <> 29 then null
    else (value || case when length(value) = 10 then 'T00:00Z' when value ~ '(Z|[+-]\d\d:?\d\d)$' then '' else 'Z' end)::timestamptz
end;
comment on function sync.as_time is 'The moment that a text names, or null.';

-- Views that stood on a table that had to change, and that PostgreSQL refuses to make again as they were.
create table sync.broken_views (
    name       text        primary key,              -- with its schema
    definition text        not null,
    statements text[]      not null,                 -- what follows it: indexes, comments, grants, owner
    reason     text        not null,
    broken_at  timestamptz not null default now()
);
comment on table sync.broken_views is 'Views that could not be made again when a table under them changed, with the statements to do it.';
