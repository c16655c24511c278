-- The console: saved queries, what they came to, and who did what. Nobody but weir's role reads this: what a person may
-- see of it, the console decides.
set local lock_timeout = '5s';

create schema console;
comment on schema console is 'What people keep in the console: queries, their results, links.';

create table console.queries (
    query_id       bigint      generated always as identity primary key,
    slug           text        not null unique,
    role           text        not null,               -- whose it is
    title          text        not null,
    description    text        not null default '',
    version        integer     not null default 1,     -- the newest
    shares_results boolean     not null default false, -- whether colleagues see what its runs come to
    link_key       text,                               -- whoever has it may read the newest result as CSV
    cron           text,                               -- when it runs by itself
    next_run_at    timestamptz,
    schedule_error text,
    made_at        timestamptz not null default now(),
    changed_at     timestamptz not null default now(),
    forked_from    text
);
comment on table console.queries is 'Saved queries, each behind /q/SLUG.';

create table console.query_versions (
    query_id bigint      not null references console.queries on delete cascade,
    version  integer     not null,
    role     text        not null,
    sql      text        not null,
    chart    jsonb,
    made_at  timestamptz not null default now(),
    primary key (query_id, version)
);
comment on table console.query_versions is 'Every text that a saved query has had.';

create table console.runs (
    run_id      text        primary key,
    role        text        not null,
    kind        text        not null check (kind in ('person', 'schedule')),
    query_id    bigint      references console.queries on delete set null,
    sql         text        not null,
    parameters  jsonb       not null default '{}',
    started_at  timestamptz not null default now(),
    duration_ms double precision,
    state       text        not null default 'running' check (state in ('running', 'done', 'failed', 'cancelled')),
    error       text
);
create index runs_role on console.runs (role, started_at desc);
comment on table console.runs is 'What was run, by whom, and how it ended: the latest of each person.';

-- A result stays as it is, whatever happens to the tables that it was read from.
create table console.results (
    result_id   text        primary key,
    run_id      text        not null,
    role        text        not null,
    query_id    bigint      references console.queries on delete set null,
    version     integer,
    title       text        not null default '',
    sql         text        not null,
    parameters  jsonb       not null default '{}',
    chart       jsonb,
    started_at  timestamptz not null,
    duration_ms double precision not null,
    columns     jsonb       not null,              -- [{"name", "type"}]
    row_count   bigint      not null,              -- that are here
    byte_count  bigint      not null,              -- of the rows, before compression
    cut         text,                              -- why there are more rows than are here; null: all are
    rows        bytea       not null,              -- zstd of lines, each a JSON array of texts and nulls
    visibility  text        not null default 'private' check (visibility in ('private', 'colleagues')),
    link_key    text,                              -- whoever has it may read this as CSV
    expires_at  timestamptz                        -- null: stays
);
alter table console.results alter rows set storage external;
create index results_role on console.results (role, started_at desc);
create index results_query on console.results (query_id, started_at desc);
create index results_expiry on console.results (expires_at) where expires_at is not null;
comment on table console.results is 'What runs came to, each behind /r/ID.';

create function console.results_stay() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    raise exception 'a result never changes' using errcode = '55000';
end
$$;
create trigger results_stay
    before update of result_id, run_id, role, version, sql, parameters, started_at, duration_ms, columns, row_count, byte_count, cut, rows
    on console.results for each row execute function console.results_stay();

create table console.dashboard_links (
    link_id    text        primary key,              -- whoever has it sees the dashboard
    role       text        not null,
    name       text        not null default '',      -- what it is for
    source     text,                                 -- null: all
    filters    jsonb       not null default '{}',
    made_at    timestamptz not null default now(),
    expires_at timestamptz                           -- null: until it is removed
);
comment on table console.dashboard_links is 'Dashboards that are open to whoever has the link.';

create table console.audit (
    audit_id bigint      generated always as identity primary key,
    at       timestamptz not null default now(),
    role     text        not null,
    address  inet,
    action   text        not null,
    detail   text        not null default ''
);
comment on table console.audit is 'Who signed in, shared, or changed something.';

-- Logins for scheduled queries: src/analyst/stand_in.rs.
create table weir.stand_ins (
    person   text primary key,
    role     text not null unique,
    password text not null
);
comment on table weir.stand_ins is 'As whom a person''s scheduled queries log in: readable, so for nobody but weir''s role.';
revoke all on weir.stand_ins from public;
