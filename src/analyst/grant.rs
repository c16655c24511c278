//! Who reads what: the schema analytics is everybody's, a synced schema is closed before it is granted.
//!
//! Tables that are made later are covered by default privileges of weir's role, which makes them.

use tokio_postgres::types::Type;

use super::hands::{Connections, Hands};
use super::settings::Analyst;
use super::{AnalystError, names, person};
use crate::database::Database;
use crate::database::text::quoted;

const CLOSED_TABLES: &str = include_str!("sql/closed_tables.sql");
const SYNCED_SCHEMAS: &str = include_str!("sql/synced_schemas.sql");
const MEMBERS: &str = include_str!("sql/members.sql");
/// From here on a membership says whether rights come with it, and whether one may become the group.
const OPTIONS_SINCE: i32 = 16;

/// To whom.
#[derive(Debug, Clone, Copy)]
pub enum To<'a> {
    Person(&'a str),
    Everyone,
}

/// Lets somebody read a synced schema, with the tables that it will have.
pub async fn grant(database: &Database, settings: &Analyst, to: To<'_>, schema: &str) -> Result<(), AnalystError> {
    let mut connections = Connections::open(database, settings).await?;
    let mut hands = connections.begin().await?;
    let (member, readers) = member_and_readers(&hands, to, schema).await?;
    make_group(&hands, &readers).await?;
    join(&hands, &readers, &member).await?;
    hands.roles_are_done().await?;
    open(&hands, schema, &readers).await?;
    hands.commit().await
}

/// Takes that back; returns who reads it still.
pub async fn revoke(
    database: &Database,
    settings: &Analyst,
    to: To<'_>,
    schema: &str,
) -> Result<Vec<String>, AnalystError> {
    let mut connections = Connections::open(database, settings).await?;
    let hands = connections.begin().await?;
    let (member, readers) = member_and_readers(&hands, to, schema).await?;
    leave(&hands, &readers, &member).await?;
    hands.commit().await?;
    let mut left = Vec::new();
    for row in connections.own().query_typed(MEMBERS, &[(&readers, Type::TEXT)]).await? {
        let (name, grantor): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if name == member {
            return Err(AnalystError::StillGranted { member, schema: schema.to_owned(), grantor });
        }
        left.push(name);
    }
    Ok(left)
}

/// Lets a person operate the console, or no longer.
pub async fn set_operator(
    database: &Database,
    settings: &Analyst,
    name: &str,
    is_operator: bool,
) -> Result<(), AnalystError> {
    let mut connections = Connections::open(database, settings).await?;
    let hands = connections.begin().await?;
    person::existing(&hands, name).await?;
    let operators = names::operators(&hands.facts.database);
    if is_operator {
        make_group(&hands, &operators).await?;
        join(&hands, &operators, name).await?;
    } else {
        leave(&hands, &operators, name).await?;
    }
    hands.commit().await
}

async fn member_and_readers(hands: &Hands<'_>, to: To<'_>, schema: &str) -> Result<(String, String), AnalystError> {
    let known = hands.texts(SYNCED_SCHEMAS, &[]).await?;
    if !known.iter().any(|known| known == schema) {
        return Err(AnalystError::NoSchema { name: schema.to_owned(), known });
    }
    let member = match to {
        To::Person(name) => {
            person::existing(hands, name).await?;
            name.to_owned()
        }
        To::Everyone => {
            let group = names::analysts(&hands.facts.database);
            make_group(hands, &group).await?;
            group
        }
    };
    Ok((member, names::readers(&hands.facts.database, schema)))
}

/// Makes a group, if it is not there.
pub(super) async fn make_group(hands: &Hands<'_>, group: &str) -> Result<(), AnalystError> {
    if hands.has_role(group).await? {
        return Ok(());
    }
    hands.role(&format!("make the role {group}"), &format!("create role {} nologin", quoted(group))).await
}

/// Makes `member` one of `group`: it has the group's rights, and cannot become the group.
pub(super) async fn join(hands: &Hands<'_>, group: &str, member: &str) -> Result<(), AnalystError> {
    let options = if hands.facts.major < OPTIONS_SINCE { "" } else { " with inherit true, set false" };
    let sql = format!("grant {} to {}{options}", quoted(group), quoted(member));
    hands.role(&format!("make {member} a member of {group}"), &sql).await
}

/// Makes weir's role a member of a person's, with all that comes of it: what it has to end, to give away, or to make again
/// is then its own.
pub(super) async fn look_after(hands: &Hands<'_>, person: &str) -> Result<(), AnalystError> {
    let weir = &hands.facts.role;
    let options = if hands.facts.major < OPTIONS_SINCE { "" } else { " with inherit true, set true" };
    let sql = format!("grant {} to {}{options}", quoted(person), quoted(weir));
    hands.role(&format!("make weir's role {weir} a member of {person}"), &sql).await
}

/// Makes `member` one who may do what `person` may, and act as them.
pub(super) async fn act_as(hands: &Hands<'_>, person: &str, member: &str) -> Result<(), AnalystError> {
    let options = if hands.facts.major < OPTIONS_SINCE { "" } else { " with inherit true, set true" };
    let sql = format!("grant {} to {}{options}", quoted(person), quoted(member));
    hands.role(&format!("make {member} a member of {person}"), &sql).await
}

async fn leave(hands: &Hands<'_>, group: &str, member: &str) -> Result<(), AnalystError> {
    if !hands.has_role(group).await? {
        return Ok(());
    }
    let sql = format!("revoke {} from {}", quoted(group), quoted(member));
    hands.role(&format!("take {member} out of {group}"), &sql).await
}

/// Lets `group` read a schema of weir's, now and later.
pub(super) async fn open(hands: &Hands<'_>, schema: &str, group: &str) -> Result<(), AnalystError> {
    let what = format!("open the schema {schema} to {group}");
    let (place, readers) = (quoted(schema), quoted(group));
    hands
        .own(
            &what,
            &format!(
                "grant usage on schema {place} to {readers};
                 alter default privileges in schema {place} grant select on tables to {readers}"
            ),
        )
        .await?;
    let closed = hands.texts(CLOSED_TABLES, &[(&schema, Type::TEXT), (&group, Type::TEXT)]).await?;
    if closed.is_empty() {
        return Ok(());
    }
    hands.own(&what, &format!("grant select on {} to {readers}", closed.join(", "))).await
}
