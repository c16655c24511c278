//! A person goes: what they made is given to a colleague, or dropped, but never by accident.

use tokio_postgres::types::Type;

use super::hands::{Connections, Hands};
use super::settings::Analyst;
use super::{AnalystError, names, person, stand_in};
use crate::database::Database;
use crate::database::text::{literal, quoted};

const BELONGINGS: &str = include_str!("sql/belongings.sql");
const DEPENDENTS: &str = include_str!("sql/dependents.sql");

/// What becomes of what a person made.
#[derive(Debug, Clone, Copy)]
pub enum Belongings<'a> {
    /// There must be nothing.
    Refuse,
    /// It goes, with what stands on it.
    Drop,
    GiveTo(&'a str),
}

/// What went or was given away.
#[derive(Debug)]
pub struct Removed {
    pub objects: Vec<String>,
    /// Views of others that were dropped with these.
    pub dependents: Vec<String>,
}

/// Removes a person; what is known of their usage stays.
pub async fn remove(
    database: &Database,
    settings: &Analyst,
    name: &str,
    belongings: Belongings<'_>,
) -> Result<Removed, AnalystError> {
    let mut connections = Connections::open(database, settings).await?;
    let hands = connections.begin().await?;
    person::existing(&hands, name).await?;
    if let Belongings::GiveTo(heir) = belongings {
        person::existing(&hands, heir).await?;
        if heir == name {
            return Err(AnalystError::Missing(format!("other than {name}")));
        }
    }
    stand_in::give_back(&hands, name).await?;
    let objects = hands.texts(BELONGINGS, &[(&name, Type::TEXT)]).await?;
    let mut dependents = hands.texts(DEPENDENTS, &[(&name, Type::TEXT)]).await?;
    if matches!(belongings, Belongings::Refuse) && !objects.is_empty() {
        return Err(AnalystError::Holds { name: name.to_owned(), objects, dependents });
    }
    // First they make no more, and hold no locks.
    let role = quoted(name);
    hands.role(&format!("set {name} to nologin"), &format!("alter role {role} nologin")).await?;
    let stand_in = stand_in::disable(&hands, name).await?;
    hands.commit().await?;
    person::end_sessions(connections.own(), &[name, &stand_in]).await?;

    let mut hands = connections.begin().await?;
    if matches!(belongings, Belongings::Refuse) {
        // Something may have been made in the meantime.
        let objects = hands.texts(BELONGINGS, &[(&name, Type::TEXT)]).await?;
        if !objects.is_empty() {
            return Err(AnalystError::Holds { name: name.to_owned(), objects, dependents });
        }
    }
    if let Belongings::GiveTo(heir) = belongings {
        let (heir_role, readers) = (quoted(heir), quoted(&names::analysts(&hands.facts.database)));
        let sql = format!(
            "reassign owned by {role} to {heir_role};
             alter default privileges for role {heir_role} in schema {role} grant select on tables to {readers}"
        );
        hands.own(&format!("give what {name} has to {heir}"), &sql).await?;
        dependents.clear();
    }
    leave_console(&hands, name, belongings).await?;
    stand_in::forget(&hands, name).await?;
    // What is left: rights, and for those who drop, everything.
    hands.own(&format!("drop what {name} has"), &format!("drop owned by {role} cascade")).await?;
    hands.own_is_done().await?;
    stand_in::drop_role(&hands, name).await?;
    hands.role(&format!("drop the role {name}"), &format!("drop role {role}")).await?;
    hands.commit().await?;
    Ok(Removed { objects, dependents })
}

/// What the person kept in the console stays for those who may see it. Whoever has the same name later gets none of it: no
/// name of a person has spaces.
async fn leave_console(hands: &Hands<'_>, name: &str, belongings: Belongings<'_>) -> Result<(), AnalystError> {
    let gone = format!("{name} (left)");
    let heir = if let Belongings::GiveTo(heir) = belongings { heir } else { &gone };
    let (name, gone, heir) = (literal(name), literal(&gone), literal(heir));
    let sql = format!(
        "update console.queries set role = {heir}, cron = null, next_run_at = null, link_key = null where role = {name};
         delete from console.results where role = {name} and visibility = 'private';
         update console.results set role = {gone}, link_key = null where role = {name};
         delete from console.runs where role = {name};
         update console.dashboard_links set role = {gone} where role = {name}"
    );
    hands.own(&format!("take leave of {name} in the console"), &sql).await
}
