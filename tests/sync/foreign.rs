//! An application's PostgreSQL, by foreign tables.

use weir::config::Config;
use weir::database::{Database, migrate};
use weir::sync::foreign::settings::Foreign;
use weir::sync::foreign::{Bridge, ForeignError};

use super::pair::password_file;
use super::support::server::Server;
use super::support::{TestDatabase, connect, eventually, superuser_url};

const APP: &str = "
    create type plan as enum ('free', 'pro');
    create table users (id int primary key, name varchar(40), plan plan, password text);
    create table orders (id int primary key, user_id int, total numeric(10,2));
    insert into users select i, 'user ' || i, case when i % 2 = 0 then 'pro' else 'free' end::plan, 'secret' from generate_series(1, 100) i;
    insert into orders select i, i % 100, i from generate_series(1, 1000) i;";

struct Pair {
    _server: Server,
    _hba: tempfile::TempDir,
    app: TestDatabase,
    own: TestDatabase,
    settings: Foreign,
}

impl Pair {
    async fn new() -> Self {
        let (hba, dir) = password_file("reader");
        let server = Server::start_with(&hba).await;
        let app = server.make_database(None).await;
        app.client.batch_execute(APP).await.expect("the application's tables");
        let role = "create role reader login password 'secret'";
        server.admin().await.batch_execute(role).await.expect("role made");
        app.client.batch_execute("grant select on all tables in schema public to reader").await.expect("granted");
        let own = TestDatabase::new().await;
        let mut config = Config::default().database;
        own.url.clone_into(&mut config.url);
        migrate::run(&Database::new(&config, 1).expect("a valid URL")).await.expect("migrated");
        let settings = Foreign {
            url: app.url.replace("weir@", "reader:secret@"),
            exclude_columns: vec!["public.users.password".to_owned()],
            ..Foreign::default()
        };
        Self { _server: server, _hba: dir, app, own, settings }
    }

    fn bridge(&self) -> Bridge {
        let mut own = Config::default().database;
        self.own.url.clone_into(&mut own.url);
        Bridge::new(&own, "shop", &self.settings).expect("good settings")
    }

    async fn allow(&self) {
        let url = superuser_url();
        let (server, _) = url.rsplit_once('/').expect("a URL with a database");
        let admin = connect(&format!("{server}/{}", self.own.name)).await;
        let sql = format!(
            "create extension postgres_fdw; grant usage on foreign data wrapper postgres_fdw to {}",
            self.own.name
        );
        admin.batch_execute(&sql).await.expect("allowed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_seen_and_views_outlive_their_changes() {
    let at = Pair::new().await;
    let error = at.bridge().start().await.expect_err("refused");
    assert!(matches!(error, ForeignError::NoWrapper(_)) && error.to_string().contains("create extension"), "{error}");
    at.allow().await;
    let bridge = at.bridge();
    assert_eq!(bridge.start().await.expect("started").tables, 2);
    // A condition on an enum is not sent to where it would be refused.
    assert_eq!(at.own.number("select count(*) from shop.users where plan = 'pro'").await, 50);
    let columns =
        "select count(*) from information_schema.columns where table_name = 'users' and column_name = 'password'";
    assert_eq!(at.own.number(columns).await, 0);
    let views = "create view shop.spent as select u.name, sum(o.total) as total from shop.users u join shop.orders o on o.user_id = u.id group by 1;
        create view shop.plans as select plan, count(*) as users from shop.users group by 1;
        comment on view shop.spent is 'kept';
        grant select on shop.users to public";
    at.own.client.batch_execute(views).await.expect("views made");
    assert!(bridge.refresh().await.expect("looked").is_none(), "nothing has changed");

    let change = "alter table users add column age int default 9; alter table users rename column plan to tier;
        create table items (id int); grant select on items to reader";
    at.app.client.batch_execute(change).await.expect("changed");
    let refreshed = bridge.refresh().await.expect("followed").expect("something has changed");
    assert_eq!(refreshed.tables, 3);
    let broken: Vec<&str> = refreshed.broken.iter().map(|view| view.name.as_str()).collect();
    assert_eq!(broken, ["shop.plans"]);
    assert_eq!(at.own.number("select count(*) from shop.spent").await, 99);
    assert_eq!(at.own.rows("select obj_description('shop.spent'::regclass)").await, ["kept"]);
    assert_eq!(at.own.number("select sum(age) from shop.users").await, 900);
    let granted =
        "select count(*) from information_schema.role_table_grants where table_name = 'users' and grantee = 'PUBLIC'";
    assert_eq!(at.own.number(granted).await, 1);
    at.own.client.batch_execute("drop view shop.spent").await.expect("dropped");
    assert_eq!(bridge.stop(true).await.expect("stopped"), Vec::<String>::new());
    assert_eq!(at.own.number("select count(*) from pg_foreign_server").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_when_they_are_due() {
    let mut at = Pair::new().await;
    at.allow().await;
    at.settings.snapshot = true;
    "1s".clone_into(&mut at.settings.every);
    at.settings.poll_s = 1;
    at.bridge().start().await.expect("started");
    assert_eq!(at.own.number("select count(*) from shop.users where plan = 'pro'").await, 50);
    at.own.client.batch_execute("create view shop.names as select name from shop.users").await.expect("made");
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(at.bridge().run(stop.clone()));
    at.app
        .client
        .batch_execute("delete from users where id > 10; alter table users add column age int")
        .await
        .expect("changed");
    at.own.until("select count(*) from shop.names", 10).await;
    let columns = "select count(*) from pg_attribute where attrelid = 'shop.users'::regclass and attname = 'age'";
    eventually("the new column", async || at.own.number(columns).await == 1).await;
    assert_eq!(at.own.number("select count(*) from shop.names").await, 10);
    let runs = "select least(count(*), 2) from sync.runs where source = 'shop' and outcome = 'done' and rows > 0";
    at.own.until(runs, 2).await;
    stop.cancel();
    running.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebodys_is_neither_dropped_nor_emptied() {
    let mut at = Pair::new().await;
    at.allow().await;
    at.settings.snapshot = true;
    let theirs =
        "create schema shop; create table shop.orders (id int, mine text); insert into shop.orders values (7, 'mine');
        create table shop.notes (line text); insert into shop.notes values ('mine')";
    at.own.client.batch_execute(theirs).await.expect("made");
    let error = at.bridge().start().await.expect_err("a name is taken");
    assert!(error.to_string().contains("orders") && error.to_string().contains("rename it"), "{error}");
    assert_eq!(at.own.number("select count(*) from shop.users").await, 100);
    at.bridge().stop(true).await.expect("stopped");
    assert_eq!(at.own.rows("select id, mine from shop.orders").await, ["7|mine"]);
    assert_eq!(at.own.rows("select line from shop.notes").await, ["mine"]);
    assert_eq!(at.own.number("select count(*) from pg_class where relnamespace = 'shop'::regnamespace").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_seen_only_if_it_is_named() {
    let mut at = Pair::new().await;
    at.allow().await;
    let view = "create view everything as select * from users; grant select on everything to reader";
    at.app.client.batch_execute(view).await.expect("made");
    assert_eq!(at.bridge().start().await.expect("started").tables, 2, "it would show what is left out of its tables");
    at.settings.tables.push("public.everything".to_owned());
    assert_eq!(at.bridge().refresh().await.expect("looked").expect("changed").tables, 3);
}
