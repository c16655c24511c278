//! Views that stand on a relation which has to change: they are taken away, and made again as they were.
//!
//! PostgreSQL lets no column that a view reads change its type. So all views above it go, the uppermost first, the relation
//! changes, and each is made again with its indexes, comments, triggers, grants and owner. What cannot be made again, because
//! a column it reads is gone, say, costs no other: it is in `sync.broken_views`, with the statements to do it by hand.
//!
//! Only what PostgreSQL lets the role drop: somebody else's view needs `grant OWNER to ROLE`.

use deadpool_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

const CAPTURE: &str = include_str!("sql/dependents.sql");
const RECORD: &str = include_str!("sql/broken_record.sql");
const UNGRANT: &str = include_str!("sql/dependents_ungrant.sql");

/// As a pattern it matches every name.
const ALL_INDEXES: &str = "";

/// One relation that has to be made again, or whose belongings have.
#[derive(Debug, Clone)]
pub struct Captured {
    /// 0: one of those asked for. Greater than that of all it reads.
    pub depth: i32,
    /// As statements call it.
    pub what: String,
    /// With its schema, quoted.
    pub name: String,
    /// Of a view.
    pub definition: Option<String>,
    /// What follows its making.
    pub after: Vec<String>,
    /// What makes it more than a table or a query, for those who cannot do with less.
    pub lost: Vec<String>,
}

/// A view that could not be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// With its schema, quoted.
    pub name: String,
    pub reason: String,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DependentsError {
    #[error("{name} cannot be taken away while what is under it changes ({reason}): drop or change what holds it")]
    Held { name: String, reason: String },
    #[error("{name} is not ours to make again ({reason}): grant its owner's role to weir's, or drop it")]
    NotOurs { name: String, reason: String },
    #[error(transparent)]
    Query(#[from] tokio_postgres::Error),
}

/// The relations and all views above them, lowest first. Sets an empty `search_path` for the rest of the transaction.
///
/// Of the relations themselves, comments are left out where they are made `without_comments`, and indexes whose names match
/// `without_indexes`.
pub async fn capture(
    transaction: &Transaction<'_>,
    relations: &[String],
    without_comments: bool,
    without_indexes: &str,
) -> Result<Vec<Captured>, tokio_postgres::Error> {
    transaction.batch_execute("set local search_path = pg_catalog").await?;
    let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&relations, Type::TEXT_ARRAY), (&without_comments, Type::BOOL), (&without_indexes, Type::TEXT)];
    let mut captured = Vec::new();
    for row in transaction.query_typed(CAPTURE, &values).await? {
        captured.push(Captured {
            depth: row.try_get("depth")?,
            what: row.try_get("what")?,
            name: row.try_get("name")?,
            definition: row.try_get("definition")?,
            after: row.try_get("after")?,
            lost: row.try_get("lost")?,
        });
    }
    Ok(captured)
}

/// Changes `relation`, a name as SQL has it, by `ddl`, with all views above it away meanwhile. Names in `ddl` have to come with
/// their schemas.
///
/// After an error the transaction is of no more use.
///
/// # Errors
/// If a view cannot be taken away, or the statements of `ddl` are refused: then all has to stay as it was.
pub async fn with_dependents(
    transaction: &Transaction<'_>,
    relation: &str,
    ddl: &[String],
) -> Result<Vec<Broken>, DependentsError> {
    let mut captured = capture(transaction, &[relation.to_owned()], true, ALL_INDEXES).await?;
    captured.retain(|view| view.depth > 0);
    take_away(transaction, &captured).await?;
    for statement in ddl {
        transaction.batch_execute(statement).await?;
    }
    make_again(transaction, &captured).await
}

/// Drops views, the uppermost first.
pub async fn take_away(transaction: &Transaction<'_>, captured: &[Captured]) -> Result<(), DependentsError> {
    for view in captured.iter().rev() {
        let statement = format!("drop {} {}", view.what, view.name);
        transaction.batch_execute(&statement).await.map_err(|error| held(view, error))?;
    }
    Ok(())
}

/// Makes views again, the lowest first, each for itself; those that PostgreSQL refuses are recorded.
pub async fn make_again(transaction: &Transaction<'_>, captured: &[Captured]) -> Result<Vec<Broken>, DependentsError> {
    let mut broken = Vec::new();
    for view in captured {
        transaction.batch_execute("savepoint weir_dependent").await?;
        let Err(error) = make_one(transaction, view).await else {
            transaction.batch_execute("release savepoint weir_dependent").await?;
            continue;
        };
        let Some(refusal) = error.as_db_error() else { return Err(error.into()) };
        // What is gone by itself, or is the server's own trouble, must cost nobody a view: all stays as it was.
        if ["40", "53", "55", "57", "58", "XX"].iter().any(|class| refusal.code().code().starts_with(class)) {
            return Err(error.into());
        }
        let reason = match refusal.detail() {
            Some(detail) => format!("{} ({detail})", refusal.message()),
            None => refusal.message().to_owned(),
        };
        transaction.batch_execute("rollback to savepoint weir_dependent; release savepoint weir_dependent").await?;
        let values: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] = [
            (&view.name, Type::TEXT),
            (&view.definition, Type::TEXT),
            (&view.after, Type::TEXT_ARRAY),
            (&reason, Type::TEXT),
        ];
        transaction.execute_typed(RECORD, &values).await?;
        tracing::warn!(view = view.name, reason, "a view could not be made again: see sync.broken_views");
        broken.push(Broken { name: view.name.clone(), reason });
    }
    Ok(broken)
}

async fn make_one(transaction: &Transaction<'_>, view: &Captured) -> Result<(), tokio_postgres::Error> {
    if let Some(definition) = &view.definition {
        transaction.batch_execute(definition).await?;
    }
    // Default privileges have given what somebody may have taken away from the old one.
    for row in transaction.query_typed(UNGRANT, &[(&view.name, Type::TEXT)]).await? {
        transaction.batch_execute(row.try_get(0)?).await?;
    }
    for statement in &view.after {
        transaction.batch_execute(statement).await?;
    }
    Ok(())
}

fn held(view: &Captured, error: tokio_postgres::Error) -> DependentsError {
    let Some(refusal) = error.as_db_error() else { return error.into() };
    let name = view.name.clone();
    let reason = match refusal.detail() {
        Some(detail) => format!("{}: {detail}", refusal.message()),
        None => refusal.message().to_owned(),
    };
    match *refusal.code() {
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST => DependentsError::Held { name, reason },
        SqlState::INSUFFICIENT_PRIVILEGE => DependentsError::NotOurs { name, reason },
        _ => error.into(),
    }
}
