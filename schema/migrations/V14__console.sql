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
create index runs_query on console.runs (query_id);
create index runs_role on console.runs (role, started_at desc);
comment on table console.runs is 'What was run, by whom, and how it ended: the latest of each person.';

-- A result stays as it is, whatever happens to the tables that it was read from; only `weir forget` takes rows of a person out.
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
create index results_run on console.results (run_id);
create index results_query on console.results (query_id, started_at desc);
create index results_expiry on console.results (expires_at) where expires_at is not null;
comment on table console.results is 'What runs came to, each behind /r/ID.';

create function console.results_stay() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
    if current_setting('weir.forgets', true) = 'on' and new.sql = old.sql and new.row_count < old.row_count then
        return new;
    end if;
    raise exception 'a result never changes' using errcode = '55000';
end
$$;
create trigger results_stay
    before update of result_id, run_id, version, sql, parameters, started_at, duration_ms, columns, row_count, byte_count, cut, rows
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
create index audit_at on console.audit (at);
comment on table console.audit is 'Who signed in, shared, or changed something.';

-- Logins for scheduled queries: src/analyst/stand_in.rs.
create table weir.stand_ins (
    person   text primary key,
    role     text not null unique,
    password text not null
);
comment on table weir.stand_ins is 'As whom a person''s scheduled queries log in: readable, so for nobody but weir''s role.';
revoke all on weir.stand_ins from public;

-- What the editor, and psql's \d+, say of what people read.
comment on schema analytics is 'The events, and what follows them: for everybody.';
comment on view analytics.page_views is 'The events that are page views.';
comment on view analytics.clicks is 'The events that are clicks.';
comment on view analytics.people is 'One row a known person, with the newest traits of their identify events.';
comment on column analytics.events.sent_at is 'When the client says it sent the event.';
comment on column analytics.events.source is 'Whose write key the event came with.';
comment on column analytics.events.name is 'The event''s own name, as signup.';
comment on column analytics.events.user_id is 'As the client says; analytics.identities tells which visitors are which users.';
comment on column analytics.events.session_id is 'As the client says; analytics.sessions has visits, whatever clients say.';
comment on column analytics.events.url is 'The page''s address as sent; host, path and query are parts of it.';
comment on column analytics.events.title is 'The page''s title.';
comment on column analytics.events.referrer is 'The address of the page before, as the browser tells.';
comment on column analytics.events.referrer_host is 'The host of the page before.';
comment on column analytics.events.utm_source is 'The campaign''s source, as the client says, else from the URL.';
comment on column analytics.events.utm_medium is 'The campaign''s medium.';
comment on column analytics.events.utm_campaign is 'The campaign''s name.';
comment on column analytics.events.utm_term is 'The campaign''s term.';
comment on column analytics.events.utm_content is 'The campaign''s content.';
comment on column analytics.events.country is 'By the address, as DE; null where no geo database is set.';
comment on column analytics.events.region is 'By the address.';
comment on column analytics.events.city is 'By the address.';
comment on column analytics.events.browser is 'By the user agent.';
comment on column analytics.events.os is 'The operating system, by the user agent.';
comment on column analytics.events.device is 'By the user agent: desktop, mobile, tablet, ...';
comment on column analytics.events.is_bot is 'Whether the user agent belongs to a robot.';
comment on column analytics.events.language is 'As the page says, else the browser''s first language.';
comment on column analytics.events.screen is 'The screen''s size, as 1440x900.';
