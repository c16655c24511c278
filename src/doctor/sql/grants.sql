-- What weir's role has to own and does not, and what it may not do, each with the statement that mends it.
with me as (
    select current_user::text as role, quote_ident(current_user) as shown
), needed as (
    select format('%s is owned by %s', c.oid::regclass, o.rolname) as missing,
           format('alter %s %s owner to %s', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'table' end, c.oid::regclass, me.shown) as cure
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_roles o on o.oid = c.relowner
     cross join me
     where c.relkind in ('r', 'p', 'v', 'm')
       and not pg_has_role(me.role, c.relowner, 'usage')
       and (n.nspname in ('weir', 'sync') or c.oid = 'analytics.events'::regclass
            or c.oid in (select inhrelid from pg_inherits where inhparent = 'analytics.events'::regclass))
    union all
    select format('the schema %I is owned by %s', n.nspname, o.rolname),
           format('alter schema %I owner to %s', n.nspname, me.shown)
      from pg_namespace n
      join pg_roles o on o.oid = n.nspowner
     cross join me
     where n.nspname in ('weir', 'sync', 'analytics') and not pg_has_role(me.role, n.nspowner, 'usage')
    union all
    select format('%s may not %s in this database', me.role, what), format('grant %s on database %I to %s', right_, current_database(), me.shown)
      from me, (values ('CREATE', 'create schemas', 'create'), ('TEMPORARY', 'make temporary tables', 'temporary')) as r (name, what, right_)
     where not has_database_privilege(me.role, current_database(), r.name)
)
select missing, cure from needed order by missing limit 20
