-- weir's own tables: how far each journal segment has been applied, and what became of every event.
set local lock_timeout = '5s';

-- One row a journal segment, moved by compare-and-set in the transaction that copies the rows.
create table weir.ledger (
    segment_id  uuid        primary key,
    node        text        not null,
    applied_to  bigint      not null default 0,  -- byte offset in the segment, always the end of a frame
    applied_crc bigint      not null default 0,  -- chain of the frames' checksums up to there: proves it is the same file
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
) with (fillfactor = 50);

-- What became of the events of each segment. The check is the conservation law.
create table weir.ledger_sources (
    segment_id  uuid   not null references weir.ledger,
    source      text   not null,
    accepted    bigint not null,
    stored      bigint not null,
    duplicate   bigint not null,
    quarantined bigint not null,
    primary key (segment_id, source),
    constraint nothing_vanishes check (accepted = stored + duplicate + quarantined)
) with (fillfactor = 50);

-- Rows that PostgreSQL refused, with its reason and the original.
create table weir.quarantine (
    id             bigint generated always as identity primary key,
    quarantined_at timestamptz not null default now(),
    source         text        not null,
    event_id       uuid        not null,
    sqlstate       text        not null,
    message        text        not null,
    event          text        not null,  -- the row as JSON, to read
    tuple          bytea       not null,  -- the row as COPY BINARY, to replay
    row_version    smallint    not null,
    segment_id     uuid        not null,
    outcome        text        not null default 'quarantined' check (outcome in ('quarantined', 'stored', 'duplicate')),
    replayed_at    timestamptz
);
create index quarantine_waiting on weir.quarantine (id) where outcome = 'quarantined';

-- Stores the rows of the temporary table weir_incoming one by one, each in a subtransaction, and tells what became of them.
-- Called only for a batch that was refused as a whole.
create function weir.store_each() returns table (event_id uuid, source text, outcome text, state text, message text)
language plpgsql as $$
#variable_conflict use_column
declare
    incoming analytics.events%rowtype;
    inserted bigint;
begin
    for incoming in select * from pg_temp.weir_incoming loop
        event_id := incoming.event_id;
        source := incoming.source;
        state := null;
        message := null;
        begin
            insert into analytics.events values (incoming.*) on conflict do nothing;
            get diagnostics inserted = row_count;
            outcome := case when inserted = 1 then 'stored' else 'duplicate' end;
        exception when others then
            -- Not the row's fault: the whole batch is tried again (src/flush/mod.rs has the same classes).
            if left(sqlstate, 2) in ('08', '25', '40', '53', '55', '57', '58', 'XX', '42', '3F', '3D', '0A', '28') then
                raise;
            end if;
            outcome := 'quarantined';
            state := sqlstate;
            message := sqlerrm;
        end;
        return next;
    end loop;
end
$$;

-- What each collector has promised, by source: written by its heartbeat.
create table weir.collectors (
    node       text        not null,
    source     text        not null,
    accepted   bigint      not null,  -- answered with a success, ever
    pending    bigint      not null,  -- of these, still only in the journal
    updated_at timestamptz not null default now(),
    primary key (node, source)
) with (fillfactor = 50);

-- accepted = stored + duplicate + quarantined + pending; `unexplained` is 0 whenever the collectors are at rest.
create view weir.accounting as
with promised as (
    select source, sum(accepted) as accepted, sum(pending) as pending
      from weir.collectors group by source
), settled as (
    select source, sum(stored) as stored, sum(duplicate) as duplicate, sum(quarantined) as quarantined
      from weir.ledger_sources group by source
), replayed as (
    select source,
           count(*) filter (where outcome = 'stored')    as stored,
           count(*) filter (where outcome = 'duplicate') as duplicate
      from weir.quarantine group by source
)
select source,
       coalesce(p.accepted, 0)::bigint                                    as accepted,
       (coalesce(s.stored, 0)      + coalesce(r.stored, 0))::bigint       as stored,
       (coalesce(s.duplicate, 0)   + coalesce(r.duplicate, 0))::bigint    as duplicate,
       (coalesce(s.quarantined, 0) - coalesce(r.stored, 0) - coalesce(r.duplicate, 0))::bigint as quarantined,
       coalesce(p.pending, 0)::bigint                                     as pending,
       (coalesce(p.accepted, 0) - coalesce(p.pending, 0)
          - coalesce(s.stored, 0) - coalesce(s.duplicate, 0) - coalesce(s.quarantined, 0))::bigint as unexplained
  from promised p full join settled s using (source) full join replayed r using (source);

comment on view weir.accounting is 'Where every accepted event is: accepted = stored + duplicate + quarantined + pending, by source.';
