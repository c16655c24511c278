-- ClickHouse as a second sink: what it may lack. src/clickhouse/mod.rs says how this is exact.
set local lock_timeout = '5s';

-- There is a row as soon as a collector was given a ClickHouse. Whoever changes events looks here, and holds what it looked at until
-- its end.
create table weir.clickhouse_sink (
    only_row     boolean     primary key default true check (only_row),
    named_until  timestamptz not null default '-infinity',  -- so long flushes name their rows; later only hours are marked
    compared_at  timestamptz not null default '-infinity',  -- what is named before may be there already
    target       text,                                      -- which ClickHouse and table that is
    succeeded_at timestamptz,                               -- when nothing was left to be sent
    failing_since timestamptz,
    error        text                                       -- why nothing can be sent
);
comment on table weir.clickhouse_sink is 'Whether there is a ClickHouse that follows the events, and how it is.';

-- Rows by their ids, written by the transaction that changes them. They are sent as they are then, or deleted if they are gone.
create table weir.clickhouse_named (
    id       bigint      generated always as identity primary key,
    ids      bytea       not null check (octet_length(ids) > 0 and octet_length(ids) % 16 = 0),  -- event ids, one after the other
    is_new   boolean     not null,                -- all of them were stored by this transaction, and not there before
    batch    uuid,                                -- with what they are sent: once it is set, it stays
    noted_at timestamptz not null default now()
);
-- Ids cannot be compressed.
alter table weir.clickhouse_named alter column ids set storage external;
comment on table weir.clickhouse_named is 'Events, by id, that ClickHouse may lack, or have and should not.';

-- Ranges of occurred_at that may differ.
create table weir.clickhouse_marks (
    id       bigint      generated always as identity primary key,
    from_at  timestamptz not null,
    to_at    timestamptz not null check (to_at > from_at),
    is_taken boolean     not null default false,  -- nobody relies on it any more
    done_to  uuid,                                -- ids up to this one are compared
    noted_at timestamptz not null default now(),
    retry_at timestamptz not null default '-infinity',  -- after a failure: not before
    failures integer     not null default 0,
    failing_since timestamptz,
    error    text                                 -- why this one could not be compared
);
create index clickhouse_marks_range on weir.clickhouse_marks (from_at, to_at) where not is_taken;
comment on table weir.clickhouse_marks is 'Stretches of time of which ClickHouse may have other events than PostgreSQL.';

-- Marks a range, but not beside a mark of it that is there already, as long as nobody has taken that: the lock keeps it from being
-- taken before this transaction has ended. Returns whether there is a ClickHouse to mark it for.
create function weir.mark_clickhouse(mark_from timestamptz, mark_to timestamptz) returns boolean
language plpgsql
set search_path = pg_catalog
as $$
begin
    if not exists (select from weir.clickhouse_sink) then
        return false;
    end if;
    perform from weir.clickhouse_marks
      where from_at = mark_from and to_at = mark_to and not is_taken
      limit 1 for key share skip locked;
    if not found then
        insert into weir.clickhouse_marks (from_at, to_at) values (mark_from, mark_to);
    end if;
    return true;
end
$$;

-- Whoever changes events adds the hours to weir.touched, and says whether it has named the rows, too.
alter table weir.touched add column is_named boolean not null default false;
comment on column weir.touched.is_named is 'Whether the rows are in weir.clickhouse_named, too.';

create function weir.mark_clickhouse_touched() returns trigger
language plpgsql
set search_path = pg_catalog
as $$
begin
    if exists (select from weir.clickhouse_sink) then
        perform weir.mark_clickhouse(hour, hour + interval '1 hour')
           from (select distinct date_trunc('hour', touched, 'UTC') as hour from unnest(new.hours) as touched) as hours;
    end if;
    return null;
end
$$;
-- What was touched may be put together into one row by another transaction, which says when it was: that is no new change.
create trigger clickhouse after insert on weir.touched
    for each row when (not new.is_named and new.noted_at >= transaction_timestamp())
    execute function weir.mark_clickhouse_touched();

create view weir.clickhouse_status as
select (select coalesce(sum(octet_length(ids)), 0) / 16 from weir.clickhouse_named)::bigint as events_named,
       (select count(*) from weir.clickhouse_marks) as ranges_marked,
       extract(epoch from statement_timestamp() - least((select min(noted_at) from weir.clickhouse_named),
                                                        (select min(noted_at) from weir.clickhouse_marks)))::double precision as waiting_s,
       statement_timestamp() < named_until as is_followed,
       succeeded_at,
       coalesce(failing_since, (select min(m.failing_since) from weir.clickhouse_marks m)) as failing_since,
       coalesce(error, (select m.error from weir.clickhouse_marks m where m.error is not null order by m.failing_since limit 1)) as error
  from weir.clickhouse_sink;
comment on view weir.clickhouse_status is 'What ClickHouse may lack, since when, and why; no row where there is none.';
