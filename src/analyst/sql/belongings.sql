-- What the person $1 owns here, and what is in the schema of that name, whoever owns it.
select distinct pg_describe_object(classid, objid, 0) as object
  from (select d.classid, d.objid
          from pg_shdepend d
          join pg_roles r on r.oid = d.refobjid
         where d.refclassid = 'pg_authid'::regclass and d.deptype = 'o' and r.rolname = $1
           and d.dbid = (select oid from pg_database where datname = current_database())
           and d.classid <> 'pg_default_acl'::regclass
           and not (d.classid = 'pg_namespace'::regclass
                    and d.objid = (select oid from pg_namespace where nspname = $1))
        union
        select d.classid, d.objid
          from pg_depend d
          join pg_namespace n on n.oid = d.refobjid
         where d.refclassid = 'pg_namespace'::regclass and d.deptype = 'n' and n.nspname = $1
           and d.classid <> 'pg_default_acl'::regclass) theirs
 order by 1
