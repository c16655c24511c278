//! Views on a table that changes.

use weir::config::Config;
use weir::database::dependents::{Broken, DependentsError, with_dependents};
use weir::database::{Database, migrate};

use super::support::{TestDatabase, connect, superuser_url};

async fn prepared() -> (TestDatabase, Database) {
    let database = TestDatabase::new().await;
    let mut settings = Config::default().database;
    database.url.clone_into(&mut settings.url);
    let weir = Database::new(&settings, 1).expect("a valid URL");
    migrate::run(&weir).await.expect("migrated");
    (database, weir)
}

async fn change(weir: &Database, ddl: &[&str]) -> Result<Vec<Broken>, DependentsError> {
    let mut client = weir.client().await.expect("connected");
    let transaction = client.transaction().await.expect("begun");
    let ddl: Vec<String> = ddl.iter().map(|&statement| statement.to_owned()).collect();
    let broken = with_dependents(&transaction, "app.users", &ddl).await?;
    transaction.commit().await.expect("committed");
    Ok(broken)
}

/// Everything about the views that somebody would miss.
const STATE: &str = "
    select c.relname, c.relkind, pg_get_userbyid(c.relowner), c.reloptions, c.relispopulated,
           obj_description(c.oid), pg_get_viewdef(c.oid),
           (select string_agg(pg_get_indexdef(indexrelid), ';' order by indexrelid::regclass::text) from pg_index where indrelid = c.oid),
           (select string_agg(pg_get_triggerdef(t.oid), ';' order by tgname) from pg_trigger t where tgrelid = c.oid),
           (select string_agg(concat_ws('/', g.grantee::regrole, g.privilege_type, g.is_grantable), ';' order by g.grantee::regrole::text, g.privilege_type)
              from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g),
           (select string_agg(concat_ws('/', attname, col_description(c.oid, attnum), attacl), ';' order by attnum)
              from pg_attribute where attrelid = c.oid and (attacl is not null or col_description(c.oid, attnum) is not null)),
           has_table_privilege('reader_' || current_database(), c.oid, 'select')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname in ('app', 'work') and c.relkind in ('v', 'm') order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn views_keep_everything_when_a_column_under_them_widens() {
    let (database, weir) = prepared().await;
    let me = &database.name;
    let admin = connect(&superuser_url()).await;
    let roles = format!("create role reader_{me}; create role alice_{me} role {me}");
    admin.batch_execute(&roles).await.expect("roles made");
    let sql = format!(
        r#"create schema app; create schema work; grant usage, create on schema work to alice_{me};
        create table app.users (id bigint primary key, plan text, total integer, "Odd name" text);
        insert into app.users values (1, 'pro', 7, 'x'), (2, 'free', 8, null);
        create view app.paid with (security_barrier=true) as select id, total, "Odd name" from app.users where plan <> 'free';
        comment on view app.paid is 'Those who pay: it''s them';
        comment on column app.paid.total is 'in cents';
        grant select on app.paid to reader_{me} with grant option;
        create materialized view work."By plan" as select plan, sum(total) as total from app.users group by plan;
        create unique index "by plan" on work."By plan" (plan);
        create index on work."By plan" (total) where plan <> '';
        grant select (plan) on work."By plan" to reader_{me};
        create materialized view work.unfilled as select total from app.paid with no data;
        create view work.top as select p.id, b.total from app.paid p, work."By plan" b where b.total > p.total;
        create function work.refuse() returns trigger language plpgsql as 'begin return null; end';
        create trigger no instead of insert on work.top for each row execute function work.refuse();
        create rule nothing as on delete to work.top do instead nothing;
        grant usage on schema app to alice_{me}; grant select on app.paid, work."By plan" to alice_{me};
        alter default privileges in schema work grant select on tables to public;
        alter view work.top owner to alice_{me};"#
    );
    database.client.batch_execute(&sql).await.expect("views made");
    let before = database.rows(STATE).await;
    assert_eq!(before.len(), 4);

    let broken = change(&weir, &["alter table app.users alter total type numeric"]).await.expect("changed");

    assert_eq!(broken, []);
    let after = database.rows(STATE).await;
    assert_eq!(after, before);
    let rows = database.rows(r#"select total, pg_typeof(total) from work."By plan" order by 1"#).await;
    assert_eq!(rows, ["7|numeric", "8|numeric"]);
    assert_eq!(database.number("select count(*) from work.top").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_made_again_is_recorded_and_costs_no_other() {
    let (database, weir) = prepared().await;
    let sql = "create schema app; create table app.users (id bigint, plan text, total integer);
        create view app.plans as select plan from app.users;
        create view app.above as select count(*) as plans from app.plans;
        create view app.totals as select sum(total) as total from app.users;
        comment on view app.plans is 'kept'";
    database.client.batch_execute(sql).await.expect("views made");

    let ddl = ["alter table app.users drop plan", "alter table app.users alter total type numeric"];
    let broken = change(&weir, &ddl).await.expect("changed");

    let names: Vec<&str> = broken.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(names, ["app.plans", "app.above"]);
    assert!(broken[0].reason.contains("plan"), "{}", broken[0].reason);
    let recorded =
        "select name, definition like 'create view app.plans as %', statements[1] from sync.broken_views order by 1";
    assert_eq!(database.rows(recorded).await, ["app.above|f|", "app.plans|t|comment on view app.plans is 'kept'"]);
    assert_eq!(database.rows("select * from app.totals").await, [""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_view_is_named_and_nothing_changes() {
    let (database, weir) = prepared().await;
    let sql = "create schema app; create table app.users (id bigint, total integer);
        create view app.totals as select sum(total) as total from app.users;
        create function app.total() returns bigint begin atomic select total from app.totals; end";
    database.client.batch_execute(sql).await.expect("made");

    let error = change(&weir, &["alter table app.users alter total type numeric"]).await.expect_err("held");

    assert!(error.to_string().contains("function app.total()"), "{error}");
    assert_eq!(database.rows("select pg_typeof(total) from app.totals").await, ["bigint"]);

    let admin = connect(&superuser_url()).await;
    let me = &database.name;
    let theirs = format!("create role bob_{me}; grant bob_{me} to {me}");
    admin.batch_execute(&theirs).await.expect("role made");
    let sql = format!(
        "drop function app.total(); grant create, usage on schema app to bob_{me}; alter view app.totals owner to bob_{me}; create schema bobs authorization bob_{me}; alter view app.totals set schema bobs"
    );
    database.client.batch_execute(&sql).await.expect("given away");
    admin.batch_execute(&format!("revoke bob_{me} from {me}")).await.expect("revoked");
    let error = change(&weir, &["alter table app.users alter total type numeric"]).await.expect_err("not ours");
    assert!(matches!(error, DependentsError::NotOurs { .. }), "{error}");
}
