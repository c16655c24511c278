//! Queries in `console.queries`, and their texts in `console.query_versions`.

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use crate::console::run::statements::SQL_BYTES_MAX;
use crate::database::{Database, DatabaseError};

const TITLE_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 10_000;
const SLUG_CHARS_MAX: usize = 60;
const CHART_BYTES_MAX: usize = 10_000;
/// Of one query; the oldest go.
const VERSIONS_MAX: i32 = 1_000;
/// Names to try, when one is taken.
const SLUG_ATTEMPTS: u32 = 100;

const LOOK: &str = include_str!("../sql/query_look.sql");
const LIST: &str = include_str!("../sql/queries_list.sql");
const ADD: &str = include_str!("../sql/query_add.sql");
const CHANGE: &str = include_str!("../sql/query_change.sql");

/// Why a query was not saved.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("a query needs a title of at most {TITLE_CHARS_MAX} characters")]
    NoTitle,
    #[error("the description is longer than {DESCRIPTION_CHARS_MAX} characters")]
    LongDescription,
    #[error("the SQL is longer than {SQL_BYTES_MAX} bytes, or holds a zero byte")]
    LongSql,
    #[error("the chart's settings are not understood")]
    BadChart,
    #[error("somebody has saved version {0} meanwhile: load the page again, or fork the query")]
    Changed(i32),
    #[error("there is no free name like this one: choose another title")]
    NoSlug,
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for QueryError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What a person writes of a query.
#[derive(Debug, Clone)]
pub struct Text {
    pub title: String,
    pub description: String,
    pub sql: String,
    /// JSON.
    pub chart: Option<String>,
    pub shares_results: bool,
}

impl Text {
    fn check(&self) -> Result<(), QueryError> {
        if self.title.trim().is_empty() || self.title.chars().count() > TITLE_CHARS_MAX {
            return Err(QueryError::NoTitle);
        }
        if self.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return Err(QueryError::LongDescription);
        }
        if self.sql.len() > SQL_BYTES_MAX || self.sql.contains('\0') {
            return Err(QueryError::LongSql);
        }
        if self.chart.as_ref().is_some_and(|chart| chart.len() > CHART_BYTES_MAX || chart.contains("\\u0000")) {
            return Err(QueryError::BadChart);
        }
        Ok(())
    }
}

/// One saved query at one version.
#[derive(Debug, Clone)]
pub struct Query {
    pub id: i64,
    pub slug: String,
    pub role: String,
    pub text: Text,
    pub version: i32,
    pub newest_version: i32,
    pub link_key: Option<String>,
    pub cron: Option<String>,
    /// RFC 3339.
    pub next_run_at: Option<String>,
    pub schedule_error: Option<String>,
    pub changed_at: String,
    pub forked_from: Option<String>,
}

/// One line of a list.
#[derive(Debug, Clone)]
pub struct Listed {
    pub slug: String,
    pub role: String,
    pub title: String,
    pub description: String,
    pub changed_at: String,
    pub cron: Option<String>,
    pub latest_at: Option<String>,
    /// Its last run by schedule went wrong.
    pub is_failing: bool,
}

/// One earlier text.
#[derive(Debug, Clone)]
pub struct Version {
    pub version: i32,
    pub role: String,
    pub made_at: String,
}

fn query(row: &Row) -> Result<Query, tokio_postgres::Error> {
    Ok(Query {
        id: row.try_get(0)?,
        slug: row.try_get(1)?,
        role: row.try_get(2)?,
        text: Text {
            title: row.try_get(3)?,
            description: row.try_get(4)?,
            sql: row.try_get(5)?,
            chart: row.try_get(6)?,
            shares_results: row.try_get(7)?,
        },
        version: row.try_get(8)?,
        newest_version: row.try_get(9)?,
        link_key: row.try_get(10)?,
        cron: row.try_get(11)?,
        next_run_at: row.try_get(12)?,
        schedule_error: row.try_get(13)?,
        changed_at: row.try_get(14)?,
        forked_from: row.try_get(15)?,
    })
}

/// The query of that name, with its newest text or an earlier one.
pub async fn look(database: &Database, slug: &str, version: Option<i32>) -> Result<Option<Query>, DatabaseError> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&slug, Type::TEXT), (&version, Type::INT4)];
    let rows = database.client().await?.query_typed(LOOK, &values).await?;
    Ok(rows.first().map(query).transpose()?)
}

/// The newest version of that query which has just this text.
pub async fn version_of(database: &Database, slug: &str, sql: &str) -> Result<Option<i32>, DatabaseError> {
    let newest = "select max(v.version) from console.query_versions v join console.queries q using (query_id)
                   where q.slug = $1 and v.sql = $2";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&slug, Type::TEXT), (&sql, Type::TEXT)];
    Ok(database.client().await?.query_typed_one(newest, &values).await?.try_get(0)?)
}

/// Everybody's queries, or one person's, whose texts hold `search`.
pub async fn list(database: &Database, role: Option<&str>, search: &str) -> Result<Vec<Listed>, DatabaseError> {
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&role, Type::TEXT), (&search, Type::TEXT)];
    let rows = database.client().await?.query_typed(LIST, &values).await?;
    let listed = |row: &Row| {
        Ok(Listed {
            slug: row.try_get(0)?,
            role: row.try_get(1)?,
            title: row.try_get(2)?,
            description: row.try_get(3)?,
            changed_at: row.try_get(4)?,
            cron: row.try_get(5)?,
            latest_at: row.try_get(6)?,
            is_failing: row.try_get(7)?,
        })
    };
    Ok(rows.iter().map(listed).collect::<Result<_, tokio_postgres::Error>>()?)
}

/// A query's texts, the newest first.
pub async fn versions(database: &Database, id: i64) -> Result<Vec<Version>, DatabaseError> {
    let sql =
        "select version, role, to_char(made_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from console.query_versions
                where query_id = $1 order by version desc limit 200";
    let rows = database.client().await?.query_typed(sql, &[(&id, Type::INT8)]).await?;
    let version = |row: &Row| Ok(Version { version: row.try_get(0)?, role: row.try_get(1)?, made_at: row.try_get(2)? });
    Ok(rows.iter().map(version).collect::<Result<_, tokio_postgres::Error>>()?)
}

/// Saves a new query; returns its name.
pub async fn add(
    database: &Database,
    role: &str,
    text: &Text,
    forked_from: Option<&str>,
) -> Result<String, QueryError> {
    text.check()?;
    let base = slug_of(&text.title);
    let client = database.client().await?;
    for attempt in 1..=SLUG_ATTEMPTS {
        let slug = if attempt == 1 { base.clone() } else { format!("{base}-{attempt}") };
        let values: [(&(dyn ToSql + Sync), Type); 8] = [
            (&slug, Type::TEXT),
            (&role, Type::TEXT),
            (&text.title, Type::TEXT),
            (&text.description, Type::TEXT),
            (&text.sql, Type::TEXT),
            (&text.chart, Type::TEXT),
            (&text.shares_results, Type::BOOL),
            (&forked_from, Type::TEXT),
        ];
        match client.execute_typed(ADD, &values).await {
            Ok(0) => {}
            Ok(_) => return Ok(slug),
            Err(error) => return Err(explained(error)),
        }
    }
    Err(QueryError::NoSlug)
}

/// Saves a text in the place of version `was`; returns the new one's number.
pub async fn change(database: &Database, of: &Query, role: &str, text: &Text) -> Result<i32, QueryError> {
    text.check()?;
    let values: [(&(dyn ToSql + Sync), Type); 9] = [
        (&of.id, Type::INT8),
        (&of.newest_version, Type::INT4),
        (&role, Type::TEXT),
        (&text.title, Type::TEXT),
        (&text.description, Type::TEXT),
        (&text.sql, Type::TEXT),
        (&text.chart, Type::TEXT),
        (&text.shares_results, Type::BOOL),
        (&VERSIONS_MAX, Type::INT4),
    ];
    let client = database.client().await?;
    match client.query_typed(CHANGE, &values).await.map_err(explained)?.first() {
        Some(row) => Ok(row.try_get(0)?),
        None => Err(QueryError::Changed(of.newest_version + 1)),
    }
}

fn explained(error: tokio_postgres::Error) -> QueryError {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_TEXT_REPRESENTATION => QueryError::BadChart,
        _ => error.into(),
    }
}

/// Removes a query and its texts; results that were kept stay.
pub async fn remove(database: &Database, id: i64) -> Result<(), DatabaseError> {
    let sql = "delete from console.queries where query_id = $1";
    database.client().await?.execute_typed(sql, &[(&id, Type::INT8)]).await?;
    Ok(())
}

/// Sets or removes what a secret link to its newest result has to show.
pub async fn set_link(database: &Database, id: i64, key: Option<&str>) -> Result<(), DatabaseError> {
    let sql = "update console.queries set link_key = $2 where query_id = $1";
    let values: [(&(dyn ToSql + Sync), Type); 2] = [(&id, Type::INT8), (&key, Type::TEXT)];
    database.client().await?.execute_typed(sql, &values).await?;
    Ok(())
}

/// Of the title what an address can show.
fn slug_of(title: &str) -> String {
    let plain = title.chars().flat_map(char::to_lowercase).take(SLUG_CHARS_MAX * 2);
    let dashed: String = plain.map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    let ascii: String = dashed.chars().filter(char::is_ascii).collect();
    let parts: Vec<&str> = ascii.split('-').filter(|part| !part.is_empty()).collect();
    let slug: String = parts.join("-").chars().take(SLUG_CHARS_MAX).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "query".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_what_they_are_of() {
        for (title, expected) in [
            ("Weekly signups, by plan", "weekly-signups-by-plan"),
            ("  ÄÖ 5 % ", "5"),
            ("日本", "query"),
            ("../../etc", "etc"),
            (&"long ".repeat(100), &"long-".repeat(12)[..59]),
        ] {
            assert_eq!(slug_of(title), expected);
        }
    }
}
