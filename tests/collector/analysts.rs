//! People on roles of their own, which are real ones: made, limited, tried, and removed again.

mod escalations;
mod limits;
mod statements;

use std::path::PathBuf;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls};
use weir::analyst::grant::{self, To};
use weir::analyst::remove::{Belongings, remove};
use weir::analyst::settings::Analyst;
use weir::analyst::{AnalystError, Standing, login, people, person, set_password, standing};
use weir::config::Config;
use weir::database::{Database, dependents, migrate};
use weir::rollup::library::Library;
use weir::rollup::runner::reconcile;

use crate::support::{TestDatabase, connect, eventually, superuser_url};

/// A database with people on it. Roles are the whole server's, so theirs have its name in them.
struct Team {
    database: TestDatabase,
    weir: Database,
    settings: Analyst,
}

impl Team {
    /// On a database whose role may make roles.
    async fn new() -> Self {
        Self::on(TestDatabase::of("createrole").await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let mut settings = Config::default().database;
        database.url.clone_into(&mut settings.url);
        let weir = Database::new(&settings, 2).expect("a valid URL");
        migrate::run(&weir).await.expect("migrated");
        let event = "insert into analytics.events (event_id, occurred_at, received_at, source, kind, is_bot)
                     select gen_random_uuid(), now(), now(), 'web', 'page', false from generate_series(1, 3)";
        database.client.batch_execute(event).await.expect("stored");
        Self { database, weir, settings: Analyst::default() }
    }

    /// A name that nobody on the server has.
    fn name(&self, of: &str) -> String {
        format!("{of}{}", self.database.name.trim_start_matches("weir"))
    }

    /// A regular expression for such names, and the database's own; not for those of a database whose number begins so.
    fn own(&self) -> String {
        format!("{}([^0-9]|$)", self.name(""))
    }

    /// Makes a person and returns their name.
    async fn add(&self, of: &str) -> String {
        let name = self.name(of);
        let added = person::add(&self.weir, &self.settings, &name, false, None).await.expect("added");
        assert!(added.is_new && added.password.is_some_and(|password| password.len() == 24));
        name
    }

    async fn log_in(&self, name: &str) -> Result<Client, Error> {
        let (client, connection) = tokio_postgres::connect(&login::url(&self.database.url, name, "any"), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn client(&self, name: &str) -> Client {
        self.log_in(name).await.expect("logged in")
    }

    /// As a superuser, in this database.
    async fn superuser(&self) -> Client {
        let (server, _) =
            superuser_url().rsplit_once('/').map(|(server, name)| (server.to_owned(), name.to_owned())).expect("a URL");
        connect(&format!("{server}/{}", self.database.name)).await
    }

    async fn standing(&self, name: &str) -> Standing {
        standing(&self.database.client, name).await.expect("asked")
    }

    /// Takes the roles away that others on this server would see.
    async fn end(self) {
        self.weir.close();
        let superuser = self.superuser().await;
        let sql = "select quote_ident(rolname) from pg_roles where rolname ~ $1 and rolname <> $2";
        let roles: Vec<String> = superuser
            .query(sql, &[&self.own(), &self.database.name])
            .await
            .expect("asked")
            .iter()
            .map(|row| row.get(0))
            .collect();
        for role in roles {
            let kick = "select pg_terminate_backend(pid) from pg_stat_activity where quote_ident(usename) = $1";
            superuser.query(kick, &[&role]).await.expect("ended");
            superuser.batch_execute(&format!("drop owned by {role} cascade; drop role {role}")).await.expect("dropped");
        }
    }
}

fn code(error: &Error) -> &str {
    error.code().map_or("", SqlState::code)
}

async fn count(client: &Client, sql: &str) -> Result<i64, Error> {
    client.query_one(&format!("select count(*) from ({sql}) counted"), &[]).await?.try_get(0)
}

async fn denied(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(code(&error), "42501", "{sql}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_life() {
    let team = Team::new().await;
    let (alice, bob) = (team.add("alice").await, team.add("bob").await);
    let (by_alice, by_bob) = (team.client(&alice).await, team.client(&bob).await);

    assert_eq!(count(&by_alice, "select from events").await.expect("by the search path"), 3);
    denied(&by_alice, "insert into analytics.events select * from analytics.events").await;
    denied(&by_alice, "create table public.mine ()").await;
    by_alice
        .batch_execute("create table foo as select 1 as a; create view v as select * from foo")
        .await
        .expect("made");
    for theirs in ["foo", "v"] {
        assert_eq!(count(&by_bob, &format!("select from {alice}.{theirs}")).await.expect("at once"), 1, "{theirs}");
    }
    denied(&by_bob, &format!("delete from {alice}.foo")).await;
    for (setting, value) in [
        ("search_path", "\"$user\", analytics, public"),
        ("statement_timeout", "5min"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("lock_timeout", "10s"),
        ("work_mem", "64MB"),
    ] {
        let found: String = by_alice.query_one("select current_setting($1)", &[&setting]).await.expect("asked").get(0);
        assert_eq!(found, value, "{setting}");
    }
    assert_eq!(team.standing(&alice).await, Standing { is_analyst: true, is_operator: false });
    for nobody in [&team.database.name, "nobody", "", "a\"b'; drop", "a\0b"] {
        assert_eq!(team.standing(nobody).await, Standing::default(), "{nobody}");
    }
    grant::set_operator(&team.weir, &team.settings, &alice, true).await.expect("granted");
    assert!(team.standing(&alice).await.is_operator);
    denied(&by_alice, "select * from weir.write_keys").await;
    grant::set_operator(&team.weir, &team.settings, &alice, false).await.expect("revoked");
    assert!(!team.standing(&alice).await.is_operator);

    // Again, it mends.
    let superuser = team.superuser().await;
    let revoke = format!("revoke {alice} from {}", team.database.name);
    team.database.client.batch_execute(&revoke).await.expect("broken");
    let again = person::add(&team.weir, &team.settings, &alice, false, None).await.expect("mended");
    assert!(!again.is_new && again.password.is_none());
    let has_role = format!("select where pg_has_role('{}', '{alice}', 'usage')", team.database.name);
    assert_eq!(count(&superuser, &has_role).await.expect("asked"), 1);

    let seven: Vec<Client> = {
        let mut clients = Vec::new();
        for _ in 0..7 {
            clients.push(team.client(&alice).await);
        }
        clients
    };
    assert_eq!(code(&team.log_in(&alice).await.expect_err("one too many")), "53300");
    let listed = people(&team.database.client).await.expect("listed");
    let named: Vec<_> =
        listed.iter().map(|person| (person.name.as_str(), person.connections, person.connections_max)).collect();
    assert_eq!(named, [(alice.as_str(), 8, 8), (bob.as_str(), 1, 8)]);
    drop(seven);

    let ended = person::set_enabled(&team.weir, &team.settings, &alice, false).await.expect("disabled");
    assert!(ended >= 1, "{ended}");
    by_alice.batch_execute("select 1").await.expect_err("ended");
    assert_eq!(code(&team.log_in(&alice).await.expect_err("disabled")), "28000");
    assert_eq!(team.standing(&alice).await, Standing::default());
    person::set_enabled(&team.weir, &team.settings, &alice, true).await.expect("enabled");
    let by_alice = team.client(&alice).await;

    let verifier = format!("select rolpassword from pg_authid where rolname = '{alice}'");
    let kept = async || superuser.query_one(&verifier, &[]).await.expect("asked").get::<_, String>(0);
    let before = kept().await;
    assert!(before.starts_with("SCRAM-SHA-256$4096:"));
    let made = person::rotate(&team.weir, &team.settings, &alice, None).await.expect("rotated").expect("made");
    assert_eq!(made.len(), 24);
    assert_ne!(kept().await, before);
    by_alice.batch_execute("select 1").await.expect_err("ended");
    let by_alice = team.client(&alice).await;
    let before = kept().await;
    set_password(&by_alice, "correct horse battery").await.expect("their own");
    assert_ne!(kept().await, before);
    set_password(&by_alice, "short").await.expect_err("too short");

    by_bob.batch_execute(&format!("create view of_alice as select * from {alice}.foo")).await.expect("made");
    let refused = remove(&team.weir, &team.settings, &alice, Belongings::Refuse).await.expect_err("it holds things");
    let AnalystError::Holds { objects, dependents, .. } = &refused else { panic!("{refused}") };
    assert_eq!(objects.len(), 2, "{objects:?}");
    assert_eq!(dependents, &[format!("{bob}.of_alice of {bob}")]);
    assert!(refused.to_string().contains("--give-to"), "{refused}");
    by_alice.batch_execute("select 1").await.expect("nothing was done");
    remove(&team.weir, &team.settings, &alice, Belongings::GiveTo(&bob)).await.expect("removed");
    assert_eq!(count(&by_bob, "select from of_alice").await.expect("still there"), 1);
    by_bob.batch_execute(&format!("insert into {alice}.foo values (2); drop view {alice}.v")).await.expect("bob's now");
    assert_eq!(team.standing(&alice).await, Standing::default());
    let roles = format!("select from pg_roles where rolname = '{alice}'");
    assert_eq!(count(&superuser, &roles).await.expect("asked"), 0);
    let taken = person::add(&team.weir, &team.settings, &alice, false, None).await.expect_err("bob has the schema");
    assert!(matches!(taken, AnalystError::TakenSchema { .. }), "{taken}");

    let carol = team.add("carol").await;
    team.client(&carol).await.batch_execute("create table t as select 1 as a").await.expect("made");
    let removed = remove(&team.weir, &team.settings, &carol, Belongings::Drop).await.expect("removed");
    assert_eq!(removed.objects, [format!("table {carol}.t")]);
    let dave = team.add("dave").await;
    remove(&team.weir, &team.settings, &dave, Belongings::Refuse).await.expect("nothing is there");
    team.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synced_schema_is_closed_until_it_is_granted() {
    let team = Team::new().await;
    let (alice, bob) = (team.add("alice").await, team.add("bob").await);
    let (by_alice, by_bob) = (team.client(&alice).await, team.client(&bob).await);
    let weir = &team.database.client;
    let grant = async |to: To<'_>| grant::grant(&team.weir, &team.settings, to, "stripe").await;
    let missing = grant(To::Person(&alice)).await.expect_err("there is none");
    assert!(missing.to_string().contains("there is none yet"), "{missing}");
    for other in ["weir", "sync", "public", &alice] {
        let error = grant::grant(&team.weir, &team.settings, To::Everyone, other).await.expect_err(other);
        assert!(matches!(error, AnalystError::NoSchema { .. }), "{error}");
    }
    weir.batch_execute(
        "insert into sync.sources (source, kind, schema) values ('stripe', 'singer', 'stripe');
         create schema stripe; create table stripe.charges as select 1 as amount;
         create view stripe.amounts as select amount from stripe.charges",
    )
    .await
    .expect("as sync makes it");
    denied(&by_alice, "select * from stripe.charges").await;
    let taken = person::add(&team.weir, &team.settings, "stripe", false, None).await.expect_err("a source has it");
    assert!(taken.to_string().contains("a source of sync"), "{taken}");
    grant(To::Person(&alice)).await.expect("granted");
    weir.batch_execute("create table stripe.later as select 1 as a").await.expect("made");
    for table in ["charges", "amounts", "later"] {
        assert_eq!(count(&by_alice, &format!("select from stripe.{table}")).await.expect("open"), 1, "{table}");
        denied(&by_bob, &format!("select * from stripe.{table}")).await;
    }
    denied(&by_alice, "insert into stripe.charges values (2)").await;

    // A column changes under views, of weir's and of a person's.
    by_alice.batch_execute("create view sums as select sum(amount) from stripe.charges").await.expect("made");
    let mut client = team.weir.client().await.expect("a connection");
    let transaction = client.transaction().await.expect("begun");
    let widen = "alter table stripe.charges alter column amount type numeric".to_owned();
    let broken = dependents::with_dependents(&transaction, "stripe.charges", &[widen]).await.expect("changed");
    assert_eq!(broken, []);
    transaction.commit().await.expect("committed");
    drop(client);
    for view in ["stripe.amounts", "sums"] {
        assert_eq!(count(&by_alice, &format!("select from {view}")).await.expect("as before"), 1, "{view}");
    }
    denied(&by_bob, "select * from stripe.amounts").await;
    by_alice.batch_execute("drop view sums").await.expect("still alice's");

    let schemas = async || {
        let people = people(&team.database.client).await.expect("listed");
        people.into_iter().map(|person| person.schemas.len()).collect::<Vec<_>>()
    };
    assert_eq!(schemas().await, [1, 0]);
    grant(To::Everyone).await.expect("granted");
    assert_eq!(count(&by_bob, "select from stripe.charges").await.expect("open"), 1);
    assert_eq!(schemas().await, [1, 1]);
    let left = grant::revoke(&team.weir, &team.settings, To::Everyone, "stripe").await.expect("revoked");
    assert_eq!(left, std::slice::from_ref(&alice));
    denied(&by_bob, "select * from stripe.charges").await;
    grant::revoke(&team.weir, &team.settings, To::Person(&alice), "stripe").await.expect("revoked");
    denied(&by_alice, "select * from stripe.charges").await;
    for closed in ["select * from sync.sources", "select * from weir.usage_days", "select * from weir.salts"] {
        denied(&by_alice, closed).await;
    }
    team.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_and_partitions_that_come_later_are_read_by_everybody() {
    let team = Team::new().await;
    let alice = team.add("alice").await;
    let library = Library { dir: PathBuf::new(), with_shipped: true };
    let done = reconcile(&team.weir, &library).await.expect("made");
    assert!(done.messages.iter().all(|(_, is_error)| !is_error), "{:?}", done.messages);
    team.database
        .client
        .batch_execute("create table analytics.events_20300101 (like analytics.events)")
        .await
        .expect("made");
    let closed = format!(
        "select from pg_class where relnamespace = 'analytics'::regnamespace and relkind in ('r', 'p', 'v', 'm')
            and not has_table_privilege('{alice}', oid, 'select')"
    );
    assert_eq!(count(&team.database.client, &closed).await.expect("asked"), 0);
    let by_alice = team.client(&alice).await;
    count(&by_alice, "select from analytics.sessions").await.expect("a rollup");
    count(&by_alice, "select from analytics.usage").await.expect("what everybody takes");
    team.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_make_roles_says_what_would_help() {
    let mut team = Team::on(TestDatabase::new().await).await;
    let alice = team.name("alice");
    let error = person::add(&team.weir, &team.settings, &alice, false, None).await.expect_err("no createrole");
    let (told, role) = (error.to_string(), team.database.name.clone());
    for cure in [&format!("alter role {role} createrole"), &format!("/{role}"), "WEIR_ADMIN_DATABASE_URL"] {
        assert!(told.contains(cure), "{told}");
    }

    // An administrator who may make roles, and nothing else.
    let superuser = team.superuser().await;
    let admin = team.name("admin");
    superuser.batch_execute(&format!("create role {admin} login createrole password 'x'")).await.expect("made");
    team.settings.admin_url = login::url(&superuser_url(), &admin, "x");
    let error = person::add(&team.weir, &team.settings, &alice, false, None).await.expect_err("another database");
    assert!(matches!(error, AnalystError::OtherDatabase { .. }), "{error}");
    team.settings.admin_url = login::url(&team.database.url, &admin, "x");
    team.add("alice").await;
    let bob = team.add("bob").await;
    team.client(&alice).await.batch_execute("create table foo as select 1 as a").await.expect("made");
    let by_bob = team.client(&bob).await;
    assert_eq!(count(&by_bob, &format!("select from {alice}.foo")).await.expect("read"), 1);
    person::rotate(&team.weir, &team.settings, &alice, Some("a password of mine")).await.expect("rotated");
    person::set_enabled(&team.weir, &team.settings, &alice, false).await.expect("disabled");
    remove(&team.weir, &team.settings, &alice, Belongings::GiveTo(&bob)).await.expect("removed");
    by_bob.batch_execute(&format!("drop table {alice}.foo")).await.expect("bob's now");

    for (name, expected) in [("Alice", "no name"), ("pg_x", "no name"), (&admin, "choose another name")] {
        let error = person::add(&team.weir, &team.settings, name, false, None).await.expect_err(name).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = person::add(&team.weir, &team.settings, "analytics", false, None).await.expect_err("a schema");
    assert!(matches!(error, AnalystError::TakenSchema { .. }), "{error}");
    // As before PostgreSQL 15.
    superuser
        .batch_execute("grant create on schema public to public; alter schema public owner to postgres")
        .await
        .expect("opened");
    let error = person::add(&team.weir, &team.settings, &bob, false, None).await.expect_err("public is open");
    assert!(error.to_string().contains("revoke create on schema public from public"), "{error}");
    superuser.batch_execute(&format!("alter schema public owner to {role}")).await.expect("given");
    person::add(&team.weir, &team.settings, &bob, false, None).await.expect("it is closed by weir's own role");
    let open = "select where has_schema_privilege('public', 'public', 'create')";
    assert_eq!(count(&superuser, open).await.expect("asked"), 0);
    eventually("sessions of no person are left", async || {
        count(&superuser, &format!("select from pg_stat_activity where usename = '{alice}'")).await.expect("asked") == 0
    })
    .await;
    team.end().await;
}
