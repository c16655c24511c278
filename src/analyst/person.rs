//! A person's life: made, disabled, given another password.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::hands::{Connections, Hands};
use super::settings::Analyst;
use super::{AnalystError, grant, names, password, stand_in};
use crate::database::Database;
use crate::database::text::{literal, quoted};

const PERSON: &str = include_str!("sql/person.sql");
const IS_THERE: &str = "select exists (select from pg_catalog.pg_roles where rolname = $1)";
/// Whether everybody may create objects in the schema public, as before PostgreSQL 15.
const PUBLIC_IS_OPEN: &str = "
    select exists (select from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                    where n.nspname = 'public' and a.grantee = 0 and a.privilege_type = 'CREATE')";
const MAY_CONNECT: &str = "
    select has_database_privilege($1::text::name, current_database()::name, 'connect')
       and has_database_privilege($1::text::name, current_database()::name, 'temporary')";
const END_SESSIONS: &str = "
    select count(*) filter (where pg_catalog.pg_terminate_backend(a.pid)) from pg_catalog.pg_stat_activity a
     where a.usename = any ($1) and a.pid <> pg_catalog.pg_backend_pid()";
const SESSIONS: &str = "select count(*) from pg_catalog.pg_stat_activity where usename = any ($1)";
/// Before, there is only the watchdog.
const TRANSACTION_TIMEOUT_SINCE: i32 = 17;
/// A session that was told to end rolls back first.
const END_WAIT: Duration = Duration::from_secs(10);
const END_POLL: Duration = Duration::from_millis(50);

/// What came of adding a person.
#[derive(Debug)]
pub struct Added {
    /// Made here; `None`: it was given, or the person had one already.
    pub password: Option<String>,
    /// Whether the person was not there before.
    pub is_new: bool,
    /// What could not be done, with its cure.
    pub warnings: Vec<String>,
}

/// What there is of a name.
struct Found {
    is_role: bool,
    is_person: bool,
    /// A source has or will have its tables in a schema of that name.
    is_synced: bool,
    schema_owner: Option<String>,
}

async fn find(hands: &Hands<'_>, name: &str) -> Result<Found, AnalystError> {
    let group = names::analysts(&hands.facts.database);
    let rows = hands.query(PERSON, &[(&name, Type::TEXT), (&group, Type::TEXT)]).await?;
    let Some(row) = rows.first() else {
        return Ok(Found { is_role: false, is_person: false, is_synced: false, schema_owner: None });
    };
    Ok(Found {
        is_role: row.try_get("is_role")?,
        is_person: row.try_get("is_person")?,
        is_synced: row.try_get("is_synced")?,
        schema_owner: row.try_get("schema_owner")?,
    })
}

/// Refuses who is none of the people here.
pub(super) async fn existing(hands: &Hands<'_>, name: &str) -> Result<(), AnalystError> {
    if find(hands, name).await?.is_person { Ok(()) } else { Err(AnalystError::Missing(name.to_owned())) }
}

/// Grants and new tables change the same rows of PostgreSQL's catalog, and whoever comes second is refused: tried again so often.
const ATTEMPTS: u32 = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// Makes a person: role, schema, limits, and what everybody may read. One that is there already is set right, and keeps
/// their password unless another is given.
pub async fn add(
    database: &Database,
    settings: &Analyst,
    name: &str,
    is_operator: bool,
    chosen: Option<&str>,
) -> Result<Added, AnalystError> {
    // Once for all attempts: an earlier one may have made the role already.
    let is_there: bool =
        database.client().await?.query_typed_one(IS_THERE, &[(&name, Type::TEXT)]).await?.try_get(0)?;
    let made = if chosen.is_none() && !is_there { Some(password::generate()?) } else { None };
    let mut attempts = 1;
    loop {
        match add_once(database, settings, name, is_operator, chosen.or(made.as_deref())).await {
            Ok(added) => return Ok(Added { password: made, is_new: !is_there, ..added }),
            Err(error) if error.to_string().contains("tuple concurrently updated") && attempts < ATTEMPTS => {
                attempts += 1;
                sleep(ATTEMPT_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn add_once(
    database: &Database,
    settings: &Analyst,
    name: &str,
    is_operator: bool,
    chosen: Option<&str>,
) -> Result<Added, AnalystError> {
    names::check(name)?;
    if let Some(chosen) = chosen {
        password::check(chosen)?;
    }
    let mut connections = Connections::open(database, settings).await?;
    let mut hands = connections.begin().await?;
    let found = find(&hands, name).await?;
    let group = names::analysts(&hands.facts.database);
    if found.is_role && !found.is_person {
        return Err(AnalystError::TakenRole { name: name.to_owned(), group });
    }
    if found.is_synced {
        return Err(AnalystError::TakenSchema { name: name.to_owned(), owner: "a source of sync".to_owned() });
    }
    if let Some(owner) = &found.schema_owner
        && (owner != name || !found.is_role)
    {
        return Err(AnalystError::TakenSchema { name: name.to_owned(), owner: owner.clone() });
    }
    close_public(&hands).await?;
    let role = quoted(name);
    for group in [&group, &names::operators(&hands.facts.database)] {
        grant::make_group(&hands, group).await?;
    }
    if !found.is_role {
        hands.role(&format!("make the role {name}"), &format!("create role {role} login")).await?;
    }
    if let Some(password) = chosen {
        let sql = format!("alter role {role} password {}", password::verifier(password));
        hands.role(&format!("set {name}'s password"), &sql).await?;
    }
    grant::join(&hands, &group, name).await?;
    if is_operator {
        grant::join(&hands, &names::operators(&hands.facts.database), name).await?;
    }
    grant::look_after(&hands, name).await?;
    let warnings = limit(&hands, settings, name).await?;
    let stand_in = stand_in::make(&hands, name).await?;
    limit(&hands, settings, &stand_in).await?;
    hands.roles_are_done().await?;

    grant::open(&hands, "analytics", &group).await?;
    let readers = quoted(&group);
    let connect = format!("grant connect, temporary on database {} to {readers}", quoted(&hands.facts.database));
    if !hands.is(MAY_CONNECT, &[(&group, Type::TEXT)]).await? {
        hands.own(&format!("let {group} connect"), &connect).await?;
    }
    let schema = format!(
        "create schema if not exists {role} authorization {role};
         grant usage on schema {role} to {readers};
         alter default privileges for role {role} in schema {role} grant select on tables to {readers}"
    );
    hands.own(&format!("make the schema {name}"), &schema).await?;
    hands.commit().await?;
    Ok(Added { password: None, is_new: !found.is_role, warnings })
}

/// What weir runs finds its functions in `pg_catalog`, and after that in the schemas of its `search_path`: where everybody
/// may put functions into one of these, everybody may be weir.
async fn close_public(hands: &Hands<'_>) -> Result<(), AnalystError> {
    let is_closed = !hands.is(PUBLIC_IS_OPEN, &[]).await?
        || hands.either("revoke create on schema public from public", Some(PUBLIC_IS_OPEN)).await?;
    if is_closed { Ok(()) } else { Err(AnalystError::PublicIsOpen) }
}

/// Sets a person's limits; returns what could not be set.
async fn limit(hands: &Hands<'_>, settings: &Analyst, name: &str) -> Result<Vec<String>, AnalystError> {
    let place = format!("alter role {} in database {}", quoted(name), quoted(&hands.facts.database));
    let connections = format!("alter role {} connection limit {}", quoted(name), settings.connections_max);
    let mut statements = vec![connections, format!("{place} set search_path = \"$user\", analytics, public")];
    for (setting, seconds) in [
        ("statement_timeout", settings.statement_timeout_s),
        ("idle_in_transaction_session_timeout", settings.idle_in_transaction_timeout_s),
        ("lock_timeout", settings.lock_timeout_s),
    ] {
        statements.push(format!("{place} set {setting} = '{seconds}s'"));
    }
    if hands.facts.major >= TRANSACTION_TIMEOUT_SINCE {
        statements.push(format!("{place} set transaction_timeout = '{}s'", settings.transaction_timeout_s));
    }
    statements.push(format!("{place} set work_mem = {}", literal(&settings.work_mem)));
    hands.role(&format!("set {name}'s limits"), &statements.join("; ")).await?;
    let files = format!("{place} set temp_file_limit = {}", literal(&settings.temp_file_limit));
    if hands.either(&files, None).await? {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "temporary files of {name} are not limited, which only a superuser may do (or on PostgreSQL 15 and later, whoever was \
         granted `set on parameter temp_file_limit`): {files}"
    )])
}

/// Lets a person log in, or no longer, which ends their sessions; returns how many.
pub async fn set_enabled(
    database: &Database,
    settings: &Analyst,
    name: &str,
    is_enabled: bool,
) -> Result<i64, AnalystError> {
    let mut connections = Connections::open(database, settings).await?;
    let hands = connections.begin().await?;
    existing(&hands, name).await?;
    let login = if is_enabled { "login" } else { "nologin" };
    hands.role(&format!("set {name} to {login}"), &format!("alter role {} {login}", quoted(name))).await?;
    let stand_in =
        if is_enabled { stand_in::renew(&hands, name).await? } else { stand_in::disable(&hands, name).await? };
    hands.commit().await?;
    if is_enabled { Ok(0) } else { end_sessions(connections.own(), &[name, &stand_in]).await }
}

/// Gives a person another password, and ends their sessions; returns the password, if it was made here.
pub async fn rotate(
    database: &Database,
    settings: &Analyst,
    name: &str,
    chosen: Option<&str>,
) -> Result<Option<String>, AnalystError> {
    if let Some(chosen) = chosen {
        password::check(chosen)?;
    }
    let made = if chosen.is_none() { Some(password::generate()?) } else { None };
    let mut connections = Connections::open(database, settings).await?;
    let hands = connections.begin().await?;
    existing(&hands, name).await?;
    if let Some(password) = chosen.or(made.as_deref()) {
        let sql = format!("alter role {} password {}", quoted(name), password::verifier(password));
        hands.role(&format!("set {name}'s password"), &sql).await?;
    }
    let stand_in = stand_in::renew(&hands, name).await?;
    hands.commit().await?;
    end_sessions(connections.own(), &[name, &stand_in]).await?;
    Ok(made)
}

/// Ends roles' sessions, on all databases, and waits until they are gone; returns how many they were.
pub(super) async fn end_sessions(client: &Client, names: &[&str]) -> Result<i64, AnalystError> {
    let ended = client.query_typed_one(END_SESSIONS, &[(&names, Type::TEXT_ARRAY)]).await?.try_get(0)?;
    let until = Instant::now() + END_WAIT;
    while Instant::now() < until
        && client.query_typed_one(SESSIONS, &[(&names, Type::TEXT_ARRAY)]).await?.try_get::<_, i64>(0)? > 0
    {
        sleep(END_POLL).await;
    }
    Ok(ended)
}
