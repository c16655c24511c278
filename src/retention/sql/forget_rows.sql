with theirs as (
    select event.ctid as place from only {table} event where {person} limit $3
), gone as (
    delete from only {table} where ctid = any (array (select place from theirs)) returning 1
)
select count(*) as rows from gone
