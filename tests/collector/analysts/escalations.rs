//! What a person tries who wants more than they have. Each attempt has to be refused, or to change nothing.

use tokio_postgres::Client;
use weir::analyst::grant;
use weir::database::dependents;

use super::{Team, count};

/// What has to come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Refused,
    /// It may succeed, and changes nothing of anybody else's.
    Vain,
}
use Outcome::{Refused, Vain};

/// `{alice}` tries; `{bob}` is a colleague, `{weir}` the collector's role, `{group}` everybody's.
const ATTEMPTS: &[(&str, &str, Outcome)] = &[
    ("another role: reset", "reset role; select * from weir.write_keys", Refused),
    ("another role: weir", "set role {weir}", Refused),
    ("another role: within a transaction", "begin; set local role {weir}", Refused),
    ("another role: superuser", "set role postgres", Refused),
    ("another role: colleague", "set role {bob}", Refused),
    (
        "another role: the group",
        "set role {group}; insert into analytics.events select * from analytics.events",
        Refused,
    ),
    ("another role: the group's schema", "set role {group}; create schema evil", Refused),
    ("another role: session", "set session authorization {weir}", Refused),
    ("another role: by a setting", "select set_config('role', '{weir}', false)", Refused),
    ("another role: by the session's", "select set_config('session_authorization', 'postgres', false)", Refused),
    ("membership: weir", "grant {weir} to {alice}", Refused),
    ("membership: colleague", "grant {bob} to {alice}", Refused),
    ("membership: operators", "grant {operators} to {alice}", Refused),
    ("membership: all data", "grant pg_read_all_data to {alice}", Refused),
    ("membership: programs", "grant pg_execute_server_program to {alice}", Refused),
    ("membership: out of weir's sight", "revoke {alice} from {weir}", Refused),
    ("membership: the group's owner", "grant {group} to {bob} with admin option", Refused),
    ("role: superuser", "alter role {alice} superuser", Refused),
    ("role: createrole", "alter role {alice} createrole", Refused),
    ("role: connections", "alter role {alice} connection limit 1000", Refused),
    ("role: for ever", "alter role {alice} valid until 'infinity'", Refused),
    ("role: policies", "alter role {alice} bypassrls", Refused),
    ("role: replication", "alter role {alice} replication", Refused),
    ("role: weir's", "alter role {weir} superuser", Refused),
    ("role: weir's password", "alter role {weir} password 'x'", Refused),
    ("role: weir's settings", "alter role {weir} set search_path = {alice}", Refused),
    ("role: everybody's settings", "alter role all set search_path = {alice}", Refused),
    ("role: a colleague's name", "alter role {bob} rename to evil", Refused),
    ("role: a colleague's end", "drop role {bob}", Refused),
    ("role: another one", "create role evil login superuser", Refused),
    ("role: the catalog", "update pg_authid set rolsuper = true", Refused),
    ("role: passwords", "select rolpassword from pg_authid", Refused),
    ("role: passwords, by the old name", "select passwd from pg_shadow", Refused),
    ("owned: taken", "reassign owned by {weir} to {alice}", Refused),
    ("owned: dropped", "drop owned by {weir} cascade", Refused),
    ("program: copy", "copy (select 1) to program 'id'", Refused),
    ("program: copy from", "create temp table t (a text); copy t from program 'id'", Refused),
    ("file: copy to", "copy (select 1) to '/tmp/evil'", Refused),
    ("file: copy from", "create temp table t (a text); copy t from '/etc/passwd'", Refused),
    ("file: read", "select pg_read_file('/etc/passwd')", Refused),
    ("file: bytes", "select pg_read_binary_file('postgresql.conf')", Refused),
    ("file: list", "select pg_ls_dir('.')", Refused),
    ("file: log", "select pg_ls_logdir()", Refused),
    ("file: stat", "select pg_stat_file('postgresql.conf')", Refused),
    ("file: into a large object", "select lo_import('/etc/passwd')", Refused),
    ("file: out of one", "select lo_export(lo_create(0), '/tmp/evil')", Refused),
    ("code: dblink", "create extension dblink", Refused),
    ("code: postgres_fdw", "create extension postgres_fdw", Refused),
    ("code: file_fdw", "create extension file_fdw", Refused),
    ("code: plpython3u", "create extension plpython3u", Refused),
    ("code: a trusted extension", "create extension hstore", Refused),
    ("code: language", "create language plpython3u", Refused),
    ("code: library", "load '/tmp/evil.so'", Refused),
    ("code: in C", "create function evil() returns int language c as '/tmp/evil.so', 'evil'", Refused),
    ("code: internal", "create function evil() returns int language internal as 'pg_backend_pid'", Refused),
    ("code: preloaded", "set session_preload_libraries = 'evil'", Refused),
    (
        "code: handed to weir",
        "create function evil() returns int language sql security definer as 'select 1'; alter function evil() owner to {weir}",
        Refused,
    ),
    ("code: over pg_catalog", "create function pg_catalog.now(text) returns int language sql as 'select 1'", Refused),
    (
        "code: in public",
        "create function public.date_trunc(text, timestamptz, text) returns int language sql as 'select 1'",
        Refused,
    ),
    ("code: in analytics", "create function analytics.evil() returns int language sql as 'select 1'", Refused),
    (
        "code: operator in analytics",
        "create operator analytics.= (function = pg_catalog.texteq, leftarg = text, rightarg = text)",
        Refused,
    ),
    ("code: cast", "create cast (text as integer) with inout as implicit", Refused),
    ("made: database", "create database evil", Refused),
    ("made: schema", "create schema evil", Refused),
    ("made: a schema of another name", "alter schema {alice} rename to stripe", Refused),
    ("made: server", "create server evil foreign data wrapper postgres_fdw", Refused),
    ("made: wrapper", "create foreign data wrapper evil", Refused),
    (
        "made: subscription",
        "create subscription evil connection 'host=127.0.0.1' publication p with (connect = false)",
        Refused,
    ),
    ("made: publication", "create publication evil for table analytics.events", Refused),
    ("made: publication of all", "create publication evil for all tables", Refused),
    ("made: tablespace", "create tablespace evil location '/tmp'", Refused),
    ("made: event trigger", "create event trigger evil on ddl_command_start execute function evil()", Refused),
    ("made: slot", "select pg_create_logical_replication_slot('evil', 'test_decoding')", Refused),
    ("made: table in analytics", "create table analytics.evil ()", Refused),
    ("made: table in weir", "create table weir.evil ()", Refused),
    ("made: table in public", "create table public.evil ()", Refused),
    ("made: table of a colleague's", "create table {bob}.evil ()", Refused),
    ("server: setting", "alter system set log_statement = 'all'", Refused),
    ("server: database's setting", "alter database {weir} set search_path = {alice}", Refused),
    ("server: reload", "select pg_reload_conf()", Refused),
    ("server: log", "select pg_rotate_logfile()", Refused),
    ("server: WAL", "select pg_switch_wal()", Refused),
    ("server: statistics", "select pg_stat_reset()", Refused),
    ("server: catalog", "set allow_system_table_mods = on", Refused),
    (
        "server: prepared transaction",
        "begin; select count(*) from analytics.events; prepare transaction 'evil'",
        Refused,
    ),
    (
        "session: ends weir's",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{weir}'",
        Refused,
    ),
    (
        "session: cancels weir's",
        "select pg_cancel_backend(pid) from pg_stat_activity where usename = '{weir}'",
        Refused,
    ),
    (
        "session: others' queries",
        "do $$ begin if not exists (select from pg_stat_activity where usename <> current_user and query not in ('', '<insufficient privilege>')) then raise exception 'hidden'; end if; end $$",
        Refused,
    ),
    ("session: temporary files", "set temp_file_limit = -1", Refused),
    ("session: its own log", "set log_statement = 'none'", Refused),
    ("session: statement_timeout", "set statement_timeout = 0; select 1", Vain),
    (
        "session: everything else",
        "set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; set work_mem = '1GB'",
        Vain,
    ),
    ("secrets: write keys", "select * from weir.write_keys", Refused),
    ("secrets: webhooks", "select * from weir.webhook_secrets", Refused),
    ("secrets: salts", "select * from weir.salts", Refused),
    ("secrets: quarantine", "select * from weir.quarantine", Refused),
    ("secrets: promises", "select * from weir.promises", Refused),
    ("secrets: sync", "select * from sync.runs", Refused),
    ("secrets: by a view", "create view evil as select * from weir.write_keys", Refused),
    ("secrets: by a view of a synced schema", "create view evil as select * from shop.users", Refused),
    (
        "secrets: by a function",
        "create function evil() returns setof text language plpgsql security definer as $$ begin return query select hint from weir.write_keys; end $$; select evil()",
        Refused,
    ),
    ("secrets: by query_to_xml", "select query_to_xml('select * from weir.salts', true, true, '')", Refused),
    ("events: insert", "insert into analytics.events select * from analytics.events", Refused),
    ("events: copy", "copy analytics.events from stdin", Refused),
    ("events: update", "update analytics.events set name = 'evil'", Refused),
    ("events: delete", "delete from analytics.events", Refused),
    ("events: through a view", "delete from analytics.page_views", Refused),
    ("events: merge", "with gone as (delete from analytics.events returning 1) select * from gone", Refused),
    ("events: truncate", "truncate analytics.events", Refused),
    ("events: drop", "drop table analytics.events cascade", Refused),
    ("events: drop a partition", "drop table analytics.events_default", Refused),
    ("events: detach", "alter table analytics.events detach partition analytics.events_default", Refused),
    (
        "events: attach",
        "create table evil (like analytics.events); alter table analytics.events attach partition evil for values from ('2000-01-01') to ('2000-01-02')",
        Refused,
    ),
    (
        "events: a partition",
        "create table evil partition of analytics.events for values from ('2000-01-01') to ('2000-01-02')",
        Refused,
    ),
    ("events: inherit", "create table evil () inherits (analytics.events)", Refused),
    ("events: column", "alter table analytics.events add column evil text", Refused),
    ("events: owner", "alter table analytics.events owner to {alice}", Refused),
    ("events: grant", "grant all on analytics.events to {alice}", Vain),
    ("events: rule", "create rule evil as on insert to analytics.events do nothing", Refused),
    (
        "events: trigger",
        "create function evil() returns trigger language plpgsql as $$ begin return null; end $$; create trigger evil before insert on analytics.events_default for each row execute function evil()",
        Refused,
    ),
    ("events: policy", "create policy evil on analytics.events using (false)", Refused),
    ("events: index", "create index on analytics.events_default (name)", Refused),
    ("events: foreign key", "create table evil (id uuid references analytics.events_default (event_id))", Refused),
    ("events: lock", "begin; lock table analytics.events in exclusive mode", Refused),
    ("events: lock of rows", "select * from analytics.events for update", Refused),
    ("events: vacuum", "vacuum full analytics.events_default", Vain),
    ("events: schema", "drop schema analytics cascade", Refused),
    ("events: schema's owner", "alter schema analytics owner to {alice}", Refused),
    ("events: schema's rights", "grant create on schema analytics to {alice}", Vain),
    (
        "rights: weir's defaults",
        "alter default privileges for role {weir} in schema analytics grant all on tables to {alice}",
        Refused,
    ),
    (
        "rights: a colleague's defaults",
        "alter default privileges for role {bob} grant all on tables to {alice}",
        Refused,
    ),
    ("colleague: insert", "insert into {bob}.notes values ('evil')", Refused),
    ("colleague: drop", "drop table {bob}.notes", Refused),
    ("colleague: replace", "create or replace view {bob}.evil as select 1", Refused),
];

/// All that must stay as it is, as one text. (Everybody may give their own things away, so `evil` in a schema of one's own is
/// no harm: it is rolled back, anyway, with the attempt.)
const STATE: &str = "
    select md5(concat_ws('#',
        (select string_agg(e::text, ',' order by e::text) from analytics.events e),
        (select string_agg(concat_ws(':', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
                                     rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil), ',' order by rolname)
           from pg_authid where rolname ~ $1 or rolname = 'postgres'),
        (select string_agg(concat_ws(':', roleid::regrole, member::regrole, admin_option), ',' order by roleid, member, grantor)
           from pg_auth_members where member::regrole::text ~ $1),
        (select string_agg(s::text, ',' order by s::text) from pg_db_role_setting s
           where setdatabase = (select oid from pg_database where datname = current_database()) or setdatabase = 0 and setrole = 0),
        (select string_agg(concat_ws(':', nspname, nspowner, nspacl), ',' order by nspname) from pg_namespace
          where nspname !~ '^pg_(toast_)?temp'),
        (select string_agg(concat_ws(':', relnamespace, relname, relowner, relacl, relkind, relhasrules, relhastriggers), ',' order by oid)
           from pg_class where relnamespace in ('analytics'::regnamespace, 'weir'::regnamespace, 'sync'::regnamespace,
                                                'public'::regnamespace, 'shop'::regnamespace)),
        (select string_agg(d::text, ',' order by oid) from pg_default_acl d),
        (select count(*) from pg_proc where pronamespace::regnamespace::text in ('pg_catalog', 'public', 'analytics', 'weir')),
        (select count(*) from pg_operator), (select count(*) from pg_cast), (select count(*) from pg_language),
        (select string_agg(extname, ',') from pg_extension), (select count(*) from pg_publication),
        (select count(*) from pg_foreign_server), (select count(*) from pg_event_trigger), (select count(*) from pg_policy),
        (select string_agg(w::text, ',') from weir.write_keys w), (select count(*) from weir.sources),
        (select count(*) from pg_prepared_xacts where database = current_database())))";

async fn state(superuser: &Client, team: &Team) -> String {
    superuser.query_one(STATE, &[&team.own()]).await.expect("asked").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_than_they_have() {
    let team = Team::new().await;
    let (alice, bob) = (team.add("alice").await, team.add("bob").await);
    grant::set_operator(&team.weir, &team.settings, &bob, true).await.expect("granted");
    team.client(&bob).await.batch_execute("create table notes (note text)").await.expect("made");
    team.database
        .client
        .batch_execute(
            "insert into weir.sources (source) values ('web');
             insert into weir.write_keys values ('\\x00', 'web', 'secret', 'sk_hint');
             insert into sync.sources (source, kind, schema) values ('shop', 'postgres', 'shop');
             create schema shop; create table shop.users as select 'a@example.org' as mail;
             select count(*) from weir.write_keys",
        )
        .await
        .expect("made");
    let superuser = team.superuser().await;
    let before = state(&superuser, &team).await;
    let weir = &team.database.name;
    for (name, sql, outcome) in ATTEMPTS {
        let sql = sql
            .replace("{alice}", &alice)
            .replace("{bob}", &bob)
            .replace("{weir}", weir)
            .replace("{group}", &format!("{weir}_analysts"))
            .replace("{operators}", &format!("{weir}_operators"));
        let client = team.client(&alice).await;
        let result = client.simple_query(&sql).await;
        if let Err(error) = &result {
            assert!(error.as_db_error().is_some(), "{name}: {error:?}");
            assert_ne!(error.as_db_error().map(|refusal| refusal.code().code()), Some("42601"), "{name}: {error:?}");
        }
        assert!(*outcome == Vain || result.is_err(), "{name}: {sql} is not refused");
        assert_eq!(state(&superuser, &team).await, before, "{name}: {sql} has changed something");
        let own = "select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = current_user";
        assert_eq!(
            count(&team.client(&alice).await, own).await.expect("asked"),
            0,
            "{name}: {sql} was not rolled back"
        );
    }
    team.database.client.batch_execute("select 1").await.expect("weir's session lives");
    team.end().await;
}

/// weir makes views again, also a person's: what these call must not be called by weir.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_made_again_does_nothing_as_weir() {
    let team = Team::new().await;
    let alice = team.add("alice").await;
    let by_alice = team.client(&alice).await;
    team.database.client.batch_execute("create table analytics.daily as select 1 as n").await.expect("made");
    by_alice
        .batch_execute(&format!(
            "create table loot (who text, as_what text);
             create function note() returns void language plpgsql as $$
             begin
                 insert into {alice}.loot values (session_user, current_user);
             end $$;
             create function look(n numeric) returns numeric language plpgsql immutable as $$
             begin
                 perform {alice}.note();
                 return n;
             end $$;
             create materialized view m as select look(n) as n from analytics.daily;
             create index on m (look(n));
             create view v as select look(n) as n from m;
             delete from loot",
        ))
        .await
        .expect("a trap");
    let mut client = team.weir.client().await.expect("a connection");
    let transaction = client.transaction().await.expect("begun");
    let widen = "alter table analytics.daily alter column n type numeric".to_owned();
    let broken = dependents::with_dependents(&transaction, "analytics.daily", &[widen]).await.expect("changed");
    transaction.commit().await.expect("committed");
    assert_eq!(broken, []);
    drop(client);
    let superuser = team.superuser().await;
    let as_others = format!("select from {alice}.loot where as_what <> '{alice}'");
    assert_eq!(count(&superuser, &as_others).await.expect("asked"), 0, "weir has run a person's function");
    let called = format!("select from {alice}.loot where who = '{}'", team.database.name);
    assert!(
        count(&superuser, &called).await.expect("asked") > 0,
        "the trap was not stepped on: the test shows nothing"
    );
    assert_eq!(count(&by_alice, "select from v").await.expect("as before"), 1);
    by_alice.batch_execute("drop view v; drop materialized view m").await.expect("still alice's");
    team.end().await;
}
