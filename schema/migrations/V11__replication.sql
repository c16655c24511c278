-- Replication: what is known of an application's PostgreSQL, of its tables and columns, and how far its changes are here.
set local lock_timeout = '5s';

create table sync.replications (
    source      text             primary key references sync.sources on delete cascade,
    slot        text             not null,            -- also the publication's name
    system_id   text             not null,            -- of the publisher's cluster
    applied_lsn pg_lsn           not null,            -- all that was committed there before is in the tables here
    applied_at  timestamptz,                          -- when the newest transaction that is here was committed there
    checked_at  timestamptz,                          -- when the publisher's tables were last looked at
    slot_state  text,                                 -- pg_replication_slots.wal_status there
    slot_bytes  bigint,                               -- of WAL that the publisher keeps for us
    lag_s       double precision,                     -- age of the oldest commit there that is not here
    errors      bigint           not null default 0,
    error       text,                                 -- null: it works
    error_at    timestamptz,
    started_at  timestamptz      not null default now()
);
comment on table sync.replications is 'How far the changes of each application''s PostgreSQL are here.';

create table sync.tables (
    source      text       not null references sync.replications on delete cascade,
    relid       bigint     not null,                  -- its oid there
    remote      text       not null,                  -- schema.table there
    relation    text       not null,                  -- its table here, in the source's schema
    state       text       not null check (state in ('copy', 'live', 'left out', 'held', 'gone')),
    reason      text,                                 -- why it is to be copied, left out, held, or gone
    key         smallint[] not null,                  -- attnums
    filenode    bigint     not null,                  -- changes when it is rewritten there
    entry       bigint     not null,                  -- of the publication; another one, if it was put back
    leaves      bigint[]   not null,                  -- partitions with their files; another file: rewritten, truncated
    wait_lsn    pg_lsn,                               -- it is copied once changes before here are read; they are in the copy
    copied_lsn  pg_lsn,                               -- changes before here may be in the copy already
    copied_rows bigint,
    copied_at   timestamptz,
    primary key (source, relid)
);
comment on table sync.tables is 'Each table of an application''s PostgreSQL: live, to be copied, left out, held back since it was renamed, or gone there.';

create table sync.columns (
    source     text     not null,
    relid      bigint   not null,
    attnum     smallint not null,                     -- stays the same when a column is renamed
    name       text     not null,                     -- there
    type_oid   bigint   not null,                     -- there
    type_mod   integer  not null,                     -- there
    type       text     not null,                     -- here
    state      text     not null check (state in ('live', 'left out', 'held', 'gone')),
    primary key (source, relid, attnum),
    foreign key (source, relid) references sync.tables on delete cascade on update cascade
);
comment on table sync.columns is 'Each column of these tables; one that is gone there keeps its values here.';

create table sync.changes (
    change_id  bigint      generated always as identity primary key,
    source     text        not null references sync.replications on delete cascade,
    relation   text        not null,
    change     text        not null,                  -- for people
    statement  text,                                  -- what was run here
    changed_at timestamptz not null default clock_timestamp()
);
create index changes_source on sync.changes (source, change_id);
comment on table sync.changes is 'Changes of the application''s tables that were followed here, newest last.';

create view sync.replication_status as
select r.source, s.schema, r.slot_state, r.slot_bytes, r.lag_s, r.applied_at, r.error,
       count(t.*) filter (where t.state = 'live') as live, count(t.*) filter (where t.state = 'copy') as to_copy,
       count(t.*) filter (where t.state = 'left out') as left_out, count(t.*) filter (where t.state = 'gone') as gone
  from sync.replications r
  join sync.sources s using (source)
  left join sync.tables t using (source)
 group by r.source, s.schema;
comment on view sync.replication_status is 'One row for each application''s PostgreSQL: how it is.';

-- A type that is not built in: postgres_fdw sends no condition on it, where another server would not know what to do with it.
create domain sync.foreign_text as text;
comment on domain sync.foreign_text is 'Values of a type of the application''s, as text, in foreign tables.';
