-- citus: a table of a rollup, or of whoever made it; should that one be distributed, a place is one in each shard, and the
-- condition keeps others' rows.
with theirs as (
    select event.ctid as place from only {table} event where {person} limit $3
), gone as (
    delete from only {table} event where ctid = any (array (select place from theirs)) and {person} returning 1
)
select count(*) as rows from gone
