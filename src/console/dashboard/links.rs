//! Links to a dashboard for whoever has them: `console.dashboard_links`.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::filter::Filters;
use crate::database::{Database, DatabaseError};

/// Of one person.
const LINKS_MAX: i64 = 200;
const NAME_CHARS_MAX: usize = 100;

/// One link.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whoever knows it may look.
    pub id: String,
    pub role: String,
    /// What it is for.
    pub name: String,
    /// `None`: all.
    pub source: Option<String>,
    /// `None` if they are not understood: then nobody may look.
    pub filters: Option<Filters>,
    /// The day, UTC.
    pub expires_on: Option<String>,
}

/// How long a new link is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Days(i32),
    Removed,
}

impl Until {
    pub fn of(name: &str) -> Self {
        match name {
            "30d" => Self::Days(30),
            "1y" => Self::Days(365),
            _ => Self::Removed,
        }
    }
}

const COLUMNS: &str =
    "link_id, role, name, source, filters::text, to_char(expires_at at time zone 'UTC', 'YYYY-MM-DD')";
const IN_FORCE: &str = "(expires_at is null or expires_at > now())";

fn link(row: &Row) -> Result<Link, tokio_postgres::Error> {
    Ok(Link {
        id: row.try_get(0)?,
        role: row.try_get(1)?,
        name: row.try_get(2)?,
        source: row.try_get(3)?,
        filters: Filters::from_json(row.try_get(4)?),
        expires_on: row.try_get(5)?,
    })
}

/// The link of that id, if it is in force.
pub async fn find(database: &Database, id: &str) -> Result<Option<Link>, DatabaseError> {
    let sql = format!("select {COLUMNS} from console.dashboard_links where link_id = $1 and {IN_FORCE}");
    let rows = database.client().await?.query_typed(&sql, &[(&id, Type::TEXT)]).await?;
    Ok(rows.first().map(link).transpose()?)
}

/// All in force, the newest first.
pub async fn all(database: &Database) -> Result<Vec<Link>, DatabaseError> {
    let sql =
        format!("select {COLUMNS} from console.dashboard_links where {IN_FORCE} order by made_at desc limit 1000");
    let rows = database.client().await?.query_typed(&sql, &[]).await?;
    Ok(rows.iter().map(link).collect::<Result<_, _>>()?)
}

/// Keeps a new one; `false` if the person has too many.
pub async fn add(database: &Database, link: &Link, until: Until) -> Result<bool, DatabaseError> {
    let name: String = link.name.replace('\0', "").trim().chars().take(NAME_CHARS_MAX).collect();
    let filters = link.filters.as_ref().map_or_else(|| "{}".to_owned(), Filters::to_json);
    let days = match until {
        Until::Days(days) => Some(days),
        Until::Removed => None,
    };
    let sql = "insert into console.dashboard_links (link_id, role, name, source, filters, expires_at)
               select $1, $2, $3, $4, $5::jsonb, now() + make_interval(days => $6)
                where (select count(*) from console.dashboard_links where role = $2) < $7";
    let values: [(&(dyn ToSql + Sync), Type); 7] = [
        (&link.id, Type::TEXT),
        (&link.role, Type::TEXT),
        (&name, Type::TEXT),
        (&link.source, Type::TEXT),
        (&filters, Type::TEXT),
        (&days, Type::INT4),
        (&LINKS_MAX, Type::INT8),
    ];
    let client = database.client().await?;
    client.execute_typed("delete from console.dashboard_links where expires_at < now()", &[]).await?;
    Ok(client.execute_typed(sql, &values).await? == 1)
}

/// Removes one: of `role` only, if that is given. Returns whether it was there.
pub async fn remove(database: &Database, id: &str, role: Option<&str>) -> Result<bool, DatabaseError> {
    let sql = "delete from console.dashboard_links where link_id = $1 and ($2::text is null or role = $2)";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::TEXT), (&role, Type::TEXT)];
    Ok(database.client().await?.execute_typed(sql, &values).await? == 1)
}
