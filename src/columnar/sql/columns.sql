-- Columns in their order, without $2, their types, and how they are read: what Parquet has no type for is read as text, and so
-- is a uuid where $3 says so.
select attname::text as name, case when $3 and type = 'uuid' then 'text' else type end as type,
       case when type = 'uuid' and not $3 or type in ('timestamp with time zone', 'boolean', 'text') then format('%I', attname)
            -- A cast would append /32 to an address.
            when type = 'inet' then format('abbrev(%I)', attname)
            else format('%I::text', attname) end as expression
  from pg_attribute, format_type(atttypid, null) as type
 where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attname <> all ($2::text[])
 order by attnum
