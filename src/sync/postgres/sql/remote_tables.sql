-- Every table of the publisher that could be taken, with its columns in order, also those that are gone, and what is known of
-- each row's identity. Runs on the publisher, PostgreSQL 10 and later; two words are replaced, since
-- the oldest have nothing of what they stand for. Takes no locks on tables: what is altered there just then is not waited
-- for. Numbers of files come from the same snapshot as columns do; pg_relation_filenode() may be ahead of it.
select c.oid::bigint as relid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       c.relreplident::text as identity, c.relfilenode::bigint as filenode,
       coalesce((select array_agg(k.attnum order by k.place)
                   from pg_index i, unnest(i.indkey::smallint[]) with ordinality k(attnum, place)
                  where i.indrelid = c.oid and k.place <= coalesce((to_jsonb(i) ->> 'indnkeyatts')::int, i.indnatts)
                    and i.indisvalid and i.indimmediate
                    and case c.relreplident when 'i' then i.indisreplident else i.indisprimary end),
                '{}') as key,
       (select r.oid::bigint from pg_publication_rel r join pg_publication p on p.oid = r.prpubid
         where p.pubname = $1::text and r.prrelid = c.oid) as entry,
       -- Of a partitioned table, each that has rows, and its file. pg_partition_tree() would take locks.
       case c.relkind when 'p' then (
         with recursive tree(relid) as (
           select c.oid union all select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relid)
         select array_agg(v.number order by l.oid, v.place)
           from tree join pg_class l on l.oid = tree.relid
          cross join lateral (values (1, l.oid::bigint), (2, l.relfilenode::bigint)) v(place, number)
          where l.relkind = 'r') end as leaves,
       c.relkind = 'p' and exists (
         with recursive tree(relid) as (
           select c.oid union all select i.inhrelid from tree join pg_inherits i on i.inhparent = tree.relid)
         select from tree join pg_class l on l.oid = tree.relid
          where l.relkind = 'r' and (l.relreplident = 'n' or (l.relreplident = 'i') <> (c.relreplident = 'i'))) as is_unlike,
       pg_has_role(c.relowner, 'usage') as is_owned,
       has_table_privilege(c.oid, 'select') and has_schema_privilege(n.oid, 'usage') as is_readable,
       c.reltuples::bigint as tuples, c.relpages::bigint * current_setting('block_size')::bigint as bytes,
       a.*
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join lateral (
    select array_agg(a.attnum order by a.attnum) as attnums,
           array_agg(a.attname::text order by a.attnum) as names,
           array_agg(a.atttypid::bigint order by a.attnum) as types,
           array_agg(a.atttypmod order by a.attnum) as mods,
           array_agg(a.attisdropped order by a.attnum) as dropped,
           array_agg(a.atthasdef order by a.attnum) as defaults,
           array_agg(MISSING order by a.attnum) as missing,
           array_agg(GENERATED order by a.attnum) as generated
      from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
  ) a on a.attnums is not null
 where c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
   and n.nspname <> 'information_schema' and n.nspname not like 'pg\_%'
 order by n.nspname, c.relname
