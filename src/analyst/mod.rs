//! People's own roles: who reads the events does so as themselves, with rights that PostgreSQL enforces.
//!
//! ```text
//! DB_analysts        everybody here: reads the schema analytics, and what colleagues make
//! DB_read_SCHEMA     reads one synced schema; nobody does before it is granted
//! DB_operators       may operate the console; grants nothing in SQL
//! alice              a person: a login, a schema of the same name, limits
//! ```
//!
//! Roles belong to the whole cluster, so the groups carry the database's name. weir's own role is a member of each person's,
//! and no person is a member of anything of weir's: so it can end their statements, and make their views again when a table
//! under them changes. What a session's own settings cannot limit, because whoever has a setting may change it, the
//! [`watchdog`] does.
//!
//! Members are looked for among the direct ones only: weir's role is one by way of each person.

pub mod grant;
pub(crate) mod hands;
pub mod login;
pub mod names;
pub mod password;
pub mod people;
pub mod person;
pub mod remove;
pub mod settings;
pub mod stand_in;
pub mod task;
pub mod usage;
pub mod watchdog;

use crate::database::DatabaseError;

pub use password::set_password;
pub use people::{Person, Standing, people, standing};
pub use usage::usage;

/// Why something could not be done with people's roles.
#[derive(Debug, thiserror::Error)]
pub enum AnalystError {
    #[error(
        "{0:?} is no name for a person: use up to 63 lower-case letters, digits and underscores, beginning with no digit and \
         not with pg_"
    )]
    BadName(String),
    #[error("this password will not do: {0}")]
    BadPassword(&'static str),
    #[error("{}", no_createrole(.role, .database, *.major))]
    NoCreateRole { role: String, database: String, major: i32 },
    #[error("analyst.admin_url (WEIR_ADMIN_DATABASE_URL) leads to the database {found}: it has to end with /{wanted}")]
    OtherDatabase { found: String, wanted: String },
    #[error("analyst.admin_url (WEIR_ADMIN_DATABASE_URL) leads to another server than DATABASE_URL")]
    OtherServer,
    #[error(
        "the role {name} exists, and is not one of the people here: choose another name, or let it be one by `grant {group} \
         to {name}`, and run this again"
    )]
    TakenRole { name: String, group: String },
    #[error(
        "the role {name} would log in for {person}'s scheduled queries, and is somebody else's: it owns something, or may more \
         than {person}; rename it by `alter role ... rename to ...`, and run this again"
    )]
    TakenStandIn { name: String, person: String },
    #[error("the schema {name} belongs to {owner}: choose another name for the person, or rename that schema")]
    TakenSchema { name: String, owner: String },
    #[error("there is nobody of the name {0} here; `weir analyst list` shows them")]
    Missing(String),
    #[error("there is no synced schema {name}; there {}", those_there_are(.known))]
    NoSchema { name: String, known: Vec<String> },
    #[error(
        "everybody may create objects in the schema public, and so could have weir run functions of theirs: close it, as its \
         owner or a superuser, by `revoke create on schema public from public`, and run this again"
    )]
    PublicIsOpen,
    #[error("{}", holds(.name, .objects, .dependents))]
    Holds { name: String, objects: Vec<String>, dependents: Vec<String> },
    #[error("{member} still reads {schema}: {grantor} granted it, and has to revoke it")]
    StillGranted { member: String, schema: String, grantor: String },
    #[error("PostgreSQL refuses to {what}: {reason}")]
    Refused { what: String, reason: String },
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] std::io::Error),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for AnalystError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// PostgreSQL's own words, with what it adds to them.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(
        || error.to_string(),
        |refusal| match refusal.detail() {
            Some(detail) => format!("{} ({detail})", refusal.message()),
            None => refusal.message().to_owned(),
        },
    )
}

fn no_createrole(role: &str, database: &str, major: i32) -> String {
    let before_16 = if major < 16 {
        format!(
            " On PostgreSQL {major} createrole is nearly a superuser, since it may grant any role but that: prefer the second."
        )
    } else {
        String::new()
    };
    format!(
        "weir's role {role} may not make roles. Either let it, as a superuser or your cloud's first user: `alter role {role} \
         createrole`. Or make somebody who may, `create role weir_admin login createrole password '...'`, and name them for \
         these commands alone: WEIR_ADMIN_DATABASE_URL=postgres://weir_admin:...@HOST/{database}.{before_16}"
    )
}

fn those_there_are(known: &[String]) -> String {
    if known.is_empty() { "is none yet".to_owned() } else { format!("are {}", known.join(", ")) }
}

/// So many objects are named; of more, only how many they are.
const NAMED_MAX: usize = 20;

fn holds(name: &str, objects: &[String], dependents: &[String]) -> String {
    let objects = listed(objects);
    let others = if dependents.is_empty() {
        String::new()
    } else {
        format!("\nof others, this stands on it, and would go with it: {}", listed(dependents))
    };
    format!(
        "{name} has {objects}{others}\ngive it to a colleague by `weir analyst remove {name} --give-to NAME`, or drop all of \
         it by --drop"
    )
}

fn listed(objects: &[String]) -> String {
    let text = objects.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match objects.len().saturating_sub(NAMED_MAX) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}
