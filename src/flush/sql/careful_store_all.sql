with stored as (
    insert into analytics.events
    select * from weir_incoming
    on conflict do nothing
    returning source
)
select source, count(*) as rows from stored group by source
