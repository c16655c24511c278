with changed as (
    update console.queries
       set version = version + 1, title = $4, description = $5, shares_results = $8, changed_at = now()
     where query_id = $1 and version = $2
    returning query_id, version
), trimmed as (
    delete from console.query_versions v using changed c where v.query_id = c.query_id and v.version <= c.version - $9
)
insert into console.query_versions (query_id, version, role, sql, chart)
select query_id, version, $3, $6, $7::text::jsonb from changed
returning version
