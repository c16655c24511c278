-- What the scratch view $1 reads, and whether all events are looked at by way of it.
with recursive reads as (
    select distinct d.refobjid as direct, d.refobjid as oid, 0 as depth
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
     where r.ev_class = $1::text::regclass and d.refobjid <> r.ev_class
    union
    select reads.direct, d.refobjid, reads.depth + 1
      from reads
      join pg_rewrite r on r.ev_class = reads.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass
      join pg_class c on c.oid = reads.oid
     where d.refobjid <> r.ev_class
       -- What lies behind a window is limited by it.
       and not (c.relnamespace = pg_my_temp_schema() and c.relname like 'weir\_window\_%')
)
select n.nspname::text as schema, c.relname::text as name, n.oid = pg_my_temp_schema() as is_scratch,
       bool_or(reads.oid = 'analytics.events'::regclass) as reads_all_events
  from reads
  join pg_class c on c.oid = reads.direct
  join pg_namespace n on n.oid = c.relnamespace
 group by 1, 2, 3
 order by 1, 2
