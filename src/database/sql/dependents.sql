-- The relations $1 (depth 0) and all views that depend on them, with the statements that make each of them again: the view
-- itself, then indexes, comments, a view's triggers and rules, grants, and at last the owner, since before that everything is
-- still ours to change. Except a materialized view of somebody else's: what fills it, and makes its indexes, calls their
-- functions, and has to do so with their rights and not with ours. What a table has that no statement here can make again is in `lost`, and so is what makes a view more
-- than a query. The relations' own comments are left out with $2, and their indexes whose names match $3. With an empty
-- search_path, names come with their schemas.
with recursive tree as (
    select root::regclass::oid as oid, 0 as depth from unnest($1::text[]) root
    union
    select r.ev_class, tree.depth + 1
      from tree
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = tree.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite r on r.oid = d.objid
     where r.ev_class <> tree.oid
), relations as (
    select c.*, format('%I.%I', n.nspname, c.relname) as name, t.depth,
           c.relowner <> (select oid from pg_roles where rolname = current_user) as is_other,
           case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'table' end as what
      from (select oid, max(depth) as depth from tree group by oid) t
      join pg_class c on c.oid = t.oid
      join pg_namespace n on n.oid = c.relnamespace
)
select r.depth, r.what, r.name,
       case when r.depth > 0 then
           format('create %s %s%s as %s%s', r.what, r.name,
                  (select ' with (' || string_agg(option, ', ') || ')' from unnest(r.reloptions) option),
                  rtrim(pg_get_viewdef(r.oid), ';'),
                  case when r.relkind = 'm' and (r.is_other or not r.relispopulated) then ' with no data' end)
       end as definition,
       case when r.depth > 0 and r.relkind = 'm' and r.is_other then
           array_remove(array[format('alter table %s owner to %I', r.name, pg_get_userbyid(r.relowner)),
                              case when r.relispopulated then 'refresh materialized view ' || r.name end], null)
       else '{}' end
       || array(select pg_get_indexdef(i.indexrelid)
               from pg_index i join pg_class c on c.oid = i.indexrelid
              where i.indrelid = r.oid and (r.depth > 0 or c.relname !~ $3)
              order by c.relname)
       || array(select case d.objsubid when 0 then format('comment on %s %s is %L', r.what, r.name, d.description)
                                       else format('comment on column %s.%I is %L', r.name, a.attname, d.description) end
                  from pg_description d left join pg_attribute a on a.attrelid = r.oid and a.attnum = d.objsubid
                 where d.classoid = 'pg_class'::regclass and d.objoid = r.oid and (r.depth > 0 or d.objsubid > 0 or not $2)
                 order by d.objsubid)
       || array(select pg_get_triggerdef(t.oid) from pg_trigger t
                 where r.depth > 0 and t.tgrelid = r.oid and not t.tgisinternal order by t.tgname)
       || array(select pg_get_ruledef(w.oid) from pg_rewrite w
                 where r.depth > 0 and w.ev_class = r.oid and w.rulename <> '_RETURN' order by w.rulename)
       || array(select format('grant %s on %s to %s%s', g.privilege_type, r.name,
                              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
                              case when g.is_grantable then ' with grant option' end)
                  from aclexplode(r.relacl) g where g.grantee <> r.relowner
                 order by g.grantee, g.privilege_type)
       || array(select format('grant %s (%I) on %s to %s%s', g.privilege_type, a.attname, r.name,
                              case g.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(g.grantee)) end,
                              case when g.is_grantable then ' with grant option' end)
                  from pg_attribute a, aclexplode(a.attacl) g
                 where a.attrelid = r.oid and not a.attisdropped and g.grantee <> r.relowner
                 order by a.attnum, g.grantee, g.privilege_type)
       || array(select format('alter table %s owner to %I', r.name, pg_get_userbyid(r.relowner))
                 where r.is_other) as after,
       array(select 'trigger ' || t.tgname from pg_trigger t where t.tgrelid = r.oid and not t.tgisinternal
             union all
             select 'policy ' || p.polname from pg_policy p where p.polrelid = r.oid
             union all
             select 'rule ' || w.rulename from pg_rewrite w where w.ev_class = r.oid and w.rulename <> '_RETURN'
             union all
             select 'foreign key ' || k.conname from pg_constraint k where k.contype = 'f' and r.oid in (k.conrelid, k.confrelid)
             union all
             select 'publication ' || pub.pubname
               from pg_publication_rel x join pg_publication pub on pub.oid = x.prpubid where x.prrelid = r.oid) as lost
  from relations r
 order by r.depth, r.oid
