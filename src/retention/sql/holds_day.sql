-- Whether a view on the table $1 is weir's own, or of somebody whose rights it has not: people's are neither.
with recursive tree as (
    select $1::text::regclass::oid as oid
    union
    select w.ev_class
      from tree
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = tree.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite w on w.oid = d.objid
)
select exists (select from pg_class c
                where c.oid in (select oid from tree) and c.oid <> $1::text::regclass
                  and (pg_get_userbyid(c.relowner) = current_user or not pg_has_role(current_user, c.relowner, 'usage'))) as is_held
