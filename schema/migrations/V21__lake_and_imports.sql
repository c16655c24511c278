-- Whether there is a lake, so that retention waits for it whoever runs it.
set local lock_timeout = '5s';

-- One row for as long as a lake is in use: written by whoever has lake.url, taken away by `weir lake stop`.
create table weir.lake (
    is_only boolean     primary key default true check (is_only),
    url     text        not null,               -- for people
    since   timestamptz not null default now(),
    seen_at timestamptz not null default now()  -- when somebody with lake.url was at work last
);
comment on table weir.lake is 'The lake that is in use, if there is one: no day is dropped that it lacks.';

-- A lake from before this migration. Where it is, its next exporter says.
insert into weir.lake (url) select '' where exists (select from weir.lake_days);
