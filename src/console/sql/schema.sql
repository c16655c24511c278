-- The tables that one may read, as a JSON array of schemas, without those of extensions. Of partitions only the whole is shown, with the size of its parts.
with tables as (
    select c.oid, n.oid as namespace, n.nspname, c.relname, c.relkind,
           pg_catalog.obj_description(c.oid, 'pg_class') as comment,
           case when c.relkind = 'p' then parts.rows else greatest(c.reltuples, 0)::bigint end as rows_estimate,
           case when c.relkind = 'p' then parts.bytes when c.relkind in ('r', 'm') then pg_catalog.pg_total_relation_size(c.oid) end as bytes
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      left join lateral (
          -- Pages as of the last vacuum or analyze: to ask for each file would take long.
          select sum(greatest(leaf.reltuples, 0))::bigint as rows,
                 sum(leaf.relpages::bigint) * pg_catalog.current_setting('block_size')::bigint as bytes
            from pg_catalog.pg_inherits i join pg_catalog.pg_class leaf on leaf.oid = i.inhrelid
           where i.inhparent = c.oid) parts on c.relkind = 'p'
     where c.relkind in ('r', 'p', 'v', 'm', 'f')
       and not c.relispartition
       and n.nspname not in ('pg_catalog', 'information_schema')
       and n.nspname !~ '^pg_(toast|temp)'
       and not exists (select from pg_catalog.pg_depend d
                        where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
       and pg_catalog.has_schema_privilege(n.oid, 'usage')
       and pg_catalog.has_any_column_privilege(c.oid, 'select')
     order by n.nspname, c.relname
     limit 3000
), described as (
    select t.*, (
        select pg_catalog.json_agg(pg_catalog.json_build_object(
                   'name', a.attname,
                   'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
                   'comment', pg_catalog.col_description(t.oid, a.attnum)) order by a.attnum)
          from pg_catalog.pg_attribute a
         where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped) as columns
      from tables t
), schemas as (
    select d.nspname, pg_catalog.obj_description(d.namespace, 'pg_namespace') as comment,
           pg_catalog.json_agg(pg_catalog.json_build_object(
               'name', d.relname,
               'kind', case d.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'table' end,
               'comment', d.comment, 'rows_estimate', d.rows_estimate, 'bytes', d.bytes,
               'columns', coalesce(d.columns, '[]')) order by d.relname) as tables
      from described d
     group by d.nspname, d.namespace
)
select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', s.nspname, 'comment', s.comment, 'tables', s.tables)
           order by case when s.nspname = current_user then 0 when s.nspname = 'analytics' then 1 else 2 end, s.nspname), '[]')::text
  from schemas s
