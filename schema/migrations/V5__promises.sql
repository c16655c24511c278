-- What was promised, by segment: a segment has one name, wherever a copy of its file goes. (No version with
-- weir.collectors was released: it goes without a time in between.)
set local lock_timeout = '5s';

create table weir.promises (
    segment_id uuid        not null,
    source     text        not null,
    node       text        not null,
    accepted   bigint      not null,  -- answered with a success, ever; nothing that is learned later makes it less
    pending    bigint      not null,  -- of these, still only in the journal
    updated_at timestamptz not null default now(),
    primary key (segment_id, source)
) with (fillfactor = 50);

insert into weir.promises (segment_id, source, node, accepted, pending)
select segment_id, source, node, accepted, 0
  from weir.ledger_sources join weir.ledger using (segment_id);

create or replace view weir.accounting as
with promised as (
    select source, sum(accepted) as accepted, sum(pending) as pending
      from weir.promises group by source
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

drop table weir.collectors;
