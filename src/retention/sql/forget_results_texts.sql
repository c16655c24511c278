-- Texts that people wrote, in which one of the ids $1 stands as SQL has it, in quotes, or is a parameter.
select 'versions of saved queries' as what, count(*) as count
  from console.query_versions v
 where exists (select from unnest($1) id where strpos(v.sql, pg_catalog.quote_literal(id)) > 0)
union all
select 'runs in the console''s history', count(*)
  from console.runs r
 where exists (select from unnest($1) id
                where strpos(r.sql, pg_catalog.quote_literal(id)) > 0
                   or exists (select from jsonb_each_text(r.parameters) p where p.value = id))
union all
select 'kept results, in their query', count(*)
  from console.results r
 where exists (select from unnest($1) id
                where strpos(r.sql, pg_catalog.quote_literal(id)) > 0
                   or exists (select from jsonb_each_text(r.parameters) p where p.value = id))
