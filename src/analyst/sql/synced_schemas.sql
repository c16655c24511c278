-- Schemas that sync fills: a foreign source with snapshots has one more, with the tables as they are there at this moment.
select distinct n.nspname::text
  from sync.sources s
  join pg_catalog.pg_namespace n on n.nspname = s.schema or s.kind = 'foreign' and n.nspname = s.schema || '_live'
 order by 1
