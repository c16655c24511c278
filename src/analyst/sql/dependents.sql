-- Views of others that stand on what the person $1 owns.
with recursive tree as (
    select c.oid from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = $1
    union
    select w.ev_class
      from tree
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = tree.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite w on w.oid = d.objid
)
select format('%I.%I of %s', n.nspname, c.relname, pg_get_userbyid(c.relowner))
  from tree
  join pg_class c on c.oid = tree.oid
  join pg_namespace n on n.oid = c.relnamespace
 where pg_get_userbyid(c.relowner) <> $1
 order by 1
