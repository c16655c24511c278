-- Which hours of events have changed: what rollups recompute.
set local lock_timeout = '5s';

-- Written in the transaction that changes events: by every flush, by deletions, replays and imports.
create table weir.touched (
    id       bigint        generated always as identity primary key,
    hours    timestamptz[] not null,  -- the starts of the hours (UTC) of occurred_at that were written to
    noted_at timestamptz   not null default now()
);
comment on table weir.touched is 'Hours of analytics.events that a committed transaction changed, for rollups to recompute.';

-- Hours before this may have lost raw events to retention: what rollups hold of them is never recomputed.
create table weir.frozen (
    only_row boolean     primary key default true check (only_row),
    before   timestamptz not null default '-infinity'
);
insert into weir.frozen default values;
