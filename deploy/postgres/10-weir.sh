#!/bin/sh
# Run by PostgreSQL's image once, when the volume is made: weir's role, which owns its database, may make people's roles
# (docs/access.md), and is no superuser.
set -eu
psql -X -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/database_password)" -U postgres -d postgres <<'SQL'
create role weir login createrole password :'password';
create database weir owner weir;
\connect weir
-- What analytics.usage counts from, and who may read it of everybody.
create extension pg_stat_statements;
grant pg_read_all_stats to weir;
revoke create on schema public from public;
SQL
