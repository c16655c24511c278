//! The first person of a private PostgreSQL: made once, so that the console can be opened at once.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::analyst::settings::Analyst;
use crate::analyst::{AnalystError, names, password, person, standing};
use crate::database::Database;
use crate::disk::write_private;

/// Who the person is, in the data directory.
const FILE: &str = "console.json";
/// Whose name says nothing of whoever sits there.
const NOBODY: [&str; 4] = ["root", "postgres", "weir", "nobody"];
/// The name of one who has no other.
const FOUNDER: &str = "founder";

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    role: String,
    password: String,
}

/// How to sign in.
#[derive(Debug, Serialize)]
pub struct Login {
    #[serde(rename = "console_role")]
    pub role: String,
    /// `None`: the person has another one meanwhile.
    #[serde(rename = "console_password", skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Makes the person once; whoever is removed stays so. That it fails keeps nothing else from starting.
pub async fn first_person(database: &Database, settings: &Analyst, data_dir: &Path) -> Option<Login> {
    // weir's role makes roles here: whoever else is named is for another server.
    let settings = Analyst { admin_url: String::new(), ..settings.clone() };
    match find_or_make(database, &settings, &data_dir.join(FILE)).await {
        Ok(login) => login,
        Err(error) => {
            tracing::warn!("the first person was not made, `weir analyst add NAME --operator` does it: {error:#}");
            None
        }
    }
}

async fn find_or_make(database: &Database, settings: &Analyst, file: &Path) -> anyhow::Result<Option<Login>> {
    let client = database.client().await?;
    let of_database: String = client.query_typed_one("select current_database()::text", &[]).await?.try_get(0)?;
    let group = names::analysts(&of_database);
    let exists = "select exists (select from pg_catalog.pg_roles where rolname = $1)";
    let is_any: bool = client.query_typed_one(exists, &[(&group, Type::TEXT)]).await?.try_get(0)?;
    let saved = match std::fs::read(file) {
        Ok(bytes) => Some(serde_json::from_slice::<Saved>(&bytes).with_context(|| file.display().to_string())?),
        Err(_) => None,
    };
    match saved {
        Some(saved) if is_any => {
            if !standing(&client, &saved.role).await?.is_analyst {
                return Ok(None);
            }
            drop(client);
            let is_in_force = is_in_force(database.url(), &saved).await;
            Ok(Some(Login { role: saved.role, password: is_in_force.then_some(saved.password) }))
        }
        // People were made by hand.
        None if is_any => Ok(None),
        // The last start was cut short after the file.
        Some(saved) => {
            drop(client);
            person::add(database, settings, &saved.role, true, Some(&saved.password)).await?;
            Ok(Some(Login { role: saved.role, password: Some(saved.password) }))
        }
        None => {
            drop(client);
            let saved = make(database, settings, file).await?;
            Ok(Some(Login { role: saved.role, password: Some(saved.password) }))
        }
    }
}

/// The file first: a role whose password nobody knows would be of no use.
async fn make(database: &Database, settings: &Analyst, file: &Path) -> anyhow::Result<Saved> {
    let mut saved = Saved { role: name(), password: password::generate()? };
    write_private(file, &serde_json::to_vec_pretty(&saved)?)?;
    let made = person::add(database, settings, &saved.role, true, Some(&saved.password)).await;
    if let Err(AnalystError::TakenRole { .. } | AnalystError::TakenSchema { .. }) = made
        && saved.role != FOUNDER
    {
        FOUNDER.clone_into(&mut saved.role);
        write_private(file, &serde_json::to_vec_pretty(&saved)?)?;
        person::add(database, settings, FOUNDER, true, Some(&saved.password)).await?;
        return Ok(saved);
    }
    for warning in made?.warnings {
        tracing::warn!("{warning}");
    }
    Ok(saved)
}

/// That of whoever starts weir, if it says anything.
fn name() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| names::check(name).is_ok() && !NOBODY.contains(&name.as_str()))
        .unwrap_or_else(|| FOUNDER.to_owned())
}

/// Whether the password still is the person's. Only a clear no is one.
async fn is_in_force(url: &str, saved: &Saved) -> bool {
    let Ok(mut config) = url.parse::<tokio_postgres::Config>() else { return true };
    match config.user(&saved.role).password(&saved.password).connect(NoTls).await {
        Ok(_) => true,
        Err(error) => error.code() != Some(&SqlState::INVALID_PASSWORD),
    }
}
