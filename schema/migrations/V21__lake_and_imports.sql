-- Whether there is a lake, so that retention waits for it whoever runs it; and what of a file was not to be imported.
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

-- Records that `weir import --until` left out.
alter table weir.imports add column outside bigint not null default 0;

-- read = stored + duplicate + quarantined + refused + outside; `unexplained` is 0 at every moment, since all of it is one transaction.
create or replace view weir.import_accounting as
select i.import_id, i.file, i.source, i.format, i.started_at, i.finished_at, i.read,
       coalesce(sum(s.stored), 0)::bigint      as stored,
       coalesce(sum(s.duplicate), 0)::bigint   as duplicate,
       coalesce(sum(s.quarantined), 0)::bigint as quarantined,
       i.refused,
       (i.read - i.refused - i.outside - coalesce(sum(s.accepted), 0))::bigint as unexplained,
       i.outside
  from weir.imports i
  left join weir.ledger_sources s on s.segment_id = i.import_id
 group by i.import_id;
comment on view weir.import_accounting is 'Where every record of an import is: read = stored + duplicate + quarantined + refused + outside.';
