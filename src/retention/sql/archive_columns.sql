-- Columns in their order, their types, and how they are read: what Parquet has no type for is read as text.
select attname::text as name, type,
       case when type in ('uuid', 'timestamp with time zone', 'boolean', 'text') then format('%I', attname)
            -- A cast would append /32 to an address.
            when type = 'inet' then format('abbrev(%I)', attname)
            else format('%I::text', attname) end as expression
  from pg_attribute, format_type(atttypid, null) as type
 where attrelid = $1::text::regclass and attnum > 0 and not attisdropped
 order by attnum
