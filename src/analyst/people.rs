//! Who is here.

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::{AnalystError, names};

const PEOPLE: &str = include_str!("sql/people.sql");
const STANDING: &str = include_str!("sql/standing.sql");
const SYNCED_SCHEMAS: &str = include_str!("sql/synced_schemas.sql");

/// What a role is here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// One of the people, and may log in.
    pub is_analyst: bool,
    /// May operate the console, too.
    pub is_operator: bool,
}

/// One of the people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Person {
    pub name: String,
    /// False: disabled.
    pub can_login: bool,
    pub is_operator: bool,
    /// Synced schemas that they read, by themselves or as everybody does.
    pub schemas: Vec<String>,
    /// Of what they have made, as last measured.
    pub schema_bytes: Option<i64>,
    /// Sessions in this database, now.
    pub connections: i64,
    pub connections_max: i32,
    /// When they were last seen at work, to some minutes, in UTC.
    pub seen_at: Option<String>,
}

/// What the role of that name is here; the name may be anything. Who may not log in is nobody.
pub async fn standing(client: &Client, role: &str) -> Result<Standing, AnalystError> {
    // What no text of PostgreSQL's can hold is nobody's name.
    if role.contains('\0') {
        return Ok(Standing::default());
    }
    let database = database_of(client).await?;
    let (analysts, operators) = (names::analysts(&database), names::operators(&database));
    let rows =
        client.query_typed(STANDING, &[(&role, Type::TEXT), (&analysts, Type::TEXT), (&operators, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(Standing::default()) };
    let is_analyst = row.try_get("is_analyst")?;
    Ok(Standing { is_analyst, is_operator: is_analyst && row.try_get("is_operator")? })
}

/// Everybody, by name. For a connection of weir's.
pub async fn people(client: &Client) -> Result<Vec<Person>, AnalystError> {
    let database = database_of(client).await?;
    let (analysts, operators) = (names::analysts(&database), names::operators(&database));
    let mut schemas: Vec<String> = Vec::new();
    for row in client.query_typed(SYNCED_SCHEMAS, &[]).await? {
        schemas.push(row.try_get(0)?);
    }
    let readers: Vec<String> = schemas.iter().map(|schema| names::readers(&database, schema)).collect();
    let rows = client
        .query_typed(
            PEOPLE,
            &[
                (&analysts, Type::TEXT),
                (&operators, Type::TEXT),
                (&schemas, Type::TEXT_ARRAY),
                (&readers, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    let mut people = Vec::new();
    for row in rows {
        people.push(Person {
            name: row.try_get("name")?,
            can_login: row.try_get("can_login")?,
            is_operator: row.try_get("is_operator")?,
            schemas: row.try_get("schemas")?,
            schema_bytes: row.try_get("schema_bytes")?,
            connections: row.try_get("connections")?,
            connections_max: row.try_get("connections_max")?,
            seen_at: row.try_get("seen_at")?,
        });
    }
    Ok(people)
}

pub(super) async fn database_of(client: &Client) -> Result<String, AnalystError> {
    Ok(client.query_typed_one("select current_database()::text", &[]).await?.try_get(0)?)
}
