-- What stands in the schema analytics beside the events, and has ids of persons; and rollups that are being filled, which will.
select format('%I.%I', n.nspname, c.relname) as name, c.relkind = 'm' as materialized,
       bool_or(a.attname = 'visitor_id') as visitors, bool_or(a.attname = 'user_id') as users,
       bool_or(a.attname = 'source') as sources
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where (n.nspname = 'analytics'
        or c.oid in (select to_regclass('weir.rollup_' || rollup_id) from weir.rollups where state = 'building'))
   and (c.relkind = 'r' or c.relkind = 'm' and c.relispopulated)
   and c.oid not in (select inhrelid from pg_inherits where inhparent = 'analytics.events'::regclass)
 group by n.nspname, c.relname, c.relkind
having bool_or(a.attname in ('visitor_id', 'user_id'))
 order by c.relkind desc, name
