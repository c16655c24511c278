-- Indexes that find persons and that partitions of earlier days lack, newest first. Another valid index that begins with the
-- same column does as well, unless it has only some of the persons; an invalid one of this name was left by an attempt that was cut short.
select format('%I.%I', n.nspname, c.relname) as leaf, c.relname || wanted.suffix as index, wanted.keys,
       to_regclass('analytics.' || c.relname || wanted.suffix) is not null as was_cut_short
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
  join pg_namespace n on n.oid = c.relnamespace
 cross join (values ('visitor_id', '_visitor', '(visitor_id)'),
                    ('user_id', '_user', '(user_id) where user_id is not null')) wanted (attname, suffix, keys)
 where i.inhparent = 'analytics.events'::regclass
   and n.nspname = 'analytics'
   and c.relname ~ '^events_\d{8}$'
   and substring(c.relname from 8) < to_char($1::text::date, 'YYYYMMDD')
   and not exists (select from pg_index x
                     join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
                    where x.indrelid = c.oid and x.indisvalid and a.attname = wanted.attname
                      and (x.indpred is null
                           or pg_get_expr(x.indpred, x.indrelid) = format('(%I IS NOT NULL)', wanted.attname)))
 order by c.relname desc, wanted.suffix
 limit $2
