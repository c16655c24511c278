select current_user::text as role, current_database()::text as database,
       current_setting('server_version_num')::integer / 10000 as major,
       (select rolcreaterole or rolsuper from pg_catalog.pg_roles where rolname = current_user) as can_make_roles,
       extract(epoch from pg_catalog.pg_postmaster_start_time())::text as started
