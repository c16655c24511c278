insert into sync.broken_views (name, definition, statements, reason) values ($1, $2, $3, $4)
on conflict (name) do update
   set definition = excluded.definition, statements = excluded.statements, reason = excluded.reason, broken_at = now()
