-- The lake: days of events as Parquet on a directory or a bucket. src/lake/mod.rs says how this is exact.
set local lock_timeout = '5s';

-- What belongs into the lake. A part is what was in one partition of a day: mostly there is one, and another where rows came
-- after retention had dropped the first.
create table weir.lake_days (
    day         date        not null,
    part        integer     not null check (part > 0),
    detached    text,                              -- the table that retention made of the partition; null: it is the day's
    attempt     bigint      not null default 0,    -- who was overtaken books nothing
    is_stale    boolean     not null default true, -- the store may lack something that was committed
    stale_since timestamptz not null default now(),
    exported_at timestamptz,                       -- when it was whole last
    dropped_at  timestamptz,                       -- since then its rows are in the lake alone
    primary key (day, part)
);
create unique index lake_days_living on weir.lake_days (day) where detached is null;
comment on table weir.lake_days is 'Days in the lake: which partition each part was, and whether the store has all of it.';

-- One object a part and source. Without bytes: it was begun, and may or may not be there.
create table weir.lake_files (
    day        date    not null,
    part       integer not null,
    source     text    not null,
    rows       bigint,
    bytes      bigint,
    e_tag      text,
    written_at timestamptz,
    primary key (day, part, source),
    foreign key (day, part) references weir.lake_days on delete cascade
);
comment on table weir.lake_files is 'Objects of the lake, as they were written last.';

-- Days that changed since they were taken up to be exported. Written by the transaction that changes events.
create table weir.lake_marks (
    mark_id   bigint      generated always as identity primary key,
    day       date        not null,
    is_urgent boolean     not null default false,  -- a person was forgotten, or the day is about to be dropped
    noted_at  timestamptz not null default now()
);
create index lake_marks_day on weir.lake_marks (day);
comment on table weir.lake_marks is 'Days of the lake that changed since they were exported.';

-- Whoever changes events adds the hours to weir.touched. Where their day is in the lake, it is marked; but not beside a mark that is
-- there already, as long as nobody has taken that: the lock keeps it from being taken before this transaction has ended.
create function weir.mark_lake() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
declare
    changed date;
begin
    for changed in
        select distinct d.day
          from weir.lake_days d
         where d.dropped_at is null
           and d.day = any (array (select (hour at time zone 'UTC')::date from unnest(new.hours) as hour))
    loop
        perform from weir.lake_marks m where m.day = changed limit 1 for key share skip locked;
        if not found then
            insert into weir.lake_marks (day) values (changed);
        end if;
    end loop;
    return null;
end
$$;
-- What was touched may be put together into one row by another transaction, which says when it was: that is no new change.
create trigger lake after insert on weir.touched
    for each row when (new.noted_at >= transaction_timestamp()) execute function weir.mark_lake();
