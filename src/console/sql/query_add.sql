with added as (
    insert into console.queries (slug, role, title, description, shares_results, forked_from)
    values ($1, $2, $3, $4, $7, $8)
    on conflict (slug) do nothing
    returning query_id
)
insert into console.query_versions (query_id, version, role, sql, chart)
select query_id, 1, $2, $5, $6::text::jsonb from added
