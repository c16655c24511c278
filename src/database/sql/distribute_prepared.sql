-- On a worker: what it has prepared and not committed.
select coalesce(string_agg(gid, ' '), '') from pg_prepared_xacts where database = current_database() and gid like 'citus\_%'
