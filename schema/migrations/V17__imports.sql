-- History from files. How far each is read is in weir.ledger, under the import's id, and what became of its rows in
-- weir.ledger_sources and weir.promises: so weir.accounting counts them like those that were received.
set local lock_timeout = '5s';

create table weir.imports (
    import_id   uuid        primary key,
    source      text        not null,
    format      text        not null,
    file        text        not null,               -- for people
    fingerprint bytea       not null,               -- SHA-256 of how it is read and of its first bytes
    read        bigint      not null default 0,     -- records up to the ledger's position
    refused     bigint      not null default 0,     -- of these, those that can be no row: the first of them are in weir.import_refusals
    started_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    finished_at timestamptz,
    constraint no_more_refused_than_read check (refused between 0 and read)
) with (fillfactor = 50);
create index imports_fingerprint on weir.imports (fingerprint, started_at);
comment on table weir.imports is 'Files that were imported, and how far.';

-- Lines and reasons only: the records themselves may be about persons, and are in the file.
create table weir.import_refusals (
    import_id uuid   not null references weir.imports on delete cascade,
    number    bigint not null, -- the import's first, second, ...
    line      bigint not null,
    reason    text   not null,
    primary key (import_id, number)
);
comment on table weir.import_refusals is 'The first records of each import that were refused, and why.';

-- read = stored + duplicate + quarantined + refused; `unexplained` is 0 at every moment, since all of it is one transaction.
create view weir.import_accounting as
select i.import_id, i.file, i.source, i.format, i.started_at, i.finished_at, i.read,
       coalesce(sum(s.stored), 0)::bigint      as stored,
       coalesce(sum(s.duplicate), 0)::bigint   as duplicate,
       coalesce(sum(s.quarantined), 0)::bigint as quarantined,
       i.refused,
       (i.read - i.refused - coalesce(sum(s.accepted), 0))::bigint as unexplained
  from weir.imports i
  left join weir.ledger_sources s on s.segment_id = i.import_id
 group by i.import_id;
comment on view weir.import_accounting is 'Where every record of an import is: read = stored + duplicate + quarantined + refused.';
