//! Operate: what keeps weir running, a file for each tab.
//!
//! Whoever is signed in may look, because what is slow or missing concerns those who query. What holds rows, names colleagues,
//! or changes anything is for operators: others are not shown it, and are refused if they ask nevertheless.

pub mod arriving;
pub mod audit_log;
pub mod draw;
pub mod jobs;
pub mod partitions;
pub mod people;
pub mod quarantine;
pub mod rollups;
pub mod sources;
pub mod sync;
pub mod sync_source;
pub mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};

use super::Console;
use super::auth::session::Session;
use super::page::parts::{Tone, flash};
use super::page::{Page, Section};
use crate::config::{self, Config};
use crate::console::shared::Latest;
use crate::database::{Database, DatabaseError};
use crate::sync::settings::Source;
use jobs::Jobs;

/// What the tabs need besides the console's own.
pub struct Operating {
    /// Of jobs, which may hold connections for long.
    database: Database,
    pub jobs: Arc<Jobs>,
    arriving: Latest,
    retention: config::Retention,
    sync: BTreeMap<String, Source>,
    rollup_dir: PathBuf,
    script_path: String,
}

impl Operating {
    pub fn new(config: &Config) -> Result<Self, DatabaseError> {
        Ok(Self {
            database: Database::new(&config.database, jobs::CONNECTIONS)?,
            jobs: Arc::default(),
            arriving: Latest::default(),
            retention: config.retention.clone(),
            sync: config.sync.clone(),
            rollup_dir: config.rollup.dir.clone(),
            script_path: config.receive.script_path.clone(),
        })
    }

    /// Ends what is under way.
    pub fn close(&self) {
        self.jobs.close();
        self.database.close();
    }
}

/// A part of the section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tab {
    Rollups,
    Sync,
    Partitions,
    Quarantine,
    Sources,
    Usage,
    Audit,
    People,
}

impl Tab {
    const ALL: [Self; 8] = [
        Self::Rollups,
        Self::Sync,
        Self::Partitions,
        Self::Quarantine,
        Self::Sources,
        Self::Usage,
        Self::Audit,
        Self::People,
    ];

    /// As in its address.
    fn id(self) -> &'static str {
        match self {
            Self::Rollups => "rollups",
            Self::Sync => "sync",
            Self::Partitions => "partitions",
            Self::Quarantine => "quarantine",
            Self::Sources => "sources",
            Self::Usage => "usage",
            Self::Audit => "audit",
            Self::People => "people",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Rollups => "Rollups",
            Self::Sync => "Sync",
            Self::Partitions => "Partitions",
            Self::Quarantine => "Quarantine",
            Self::Sources => "Sources and keys",
            Self::Usage => "Usage",
            Self::Audit => "Audit log",
            Self::People => "People",
        }
    }

    fn is_for(self, person: &Session) -> bool {
        !matches!(self, Self::Quarantine | Self::Audit | Self::People) || person.is_operator()
    }
}

/// What an action came to, above the page.
type Told = Option<(Tone, Markup)>;

/// The page of one tab.
fn page(tab: Tab, person: &Session, told: &Told, main: &Markup) -> Response {
    let is_refused = told.as_ref().is_some_and(|(tone, _)| *tone == Tone::Bad);
    let status = if is_refused { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let main = html! {
        h1 class="hidden-visually" { "Operate" }
        nav class="tabs" aria-label="Parts" {
            @for other in Tab::ALL.iter().filter(|other| other.is_for(person)) {
                a href={ "/operate/" (other.id()) } aria-current=[(*other == tab).then_some("page")] { (other.title()) }
            }
        }
        @if let Some((tone, text)) = told { (flash(*tone, text)) }
        (main)
    };
    Page::new(tab.title(), &format!("operate-{}", tab.id()), Section::Operate, person).answer(status, &main)
}

/// A list under its heading; where it is empty, `nothing` says so.
fn card(id: &str, title: &Markup, aside: &Markup, list: Option<&Markup>, nothing: &Markup) -> Markup {
    html! {
        section id=(id) class=(if list.is_some() { "card flush" } else { "card" }) {
            div class="card-head" { h2 { (title) } p class="quiet small" { (aside) } }
            @match list { Some(list) => { (list) }, None => p class="quiet" { (nothing) } }
        }
    }
}

/// Where a form was answered with the page, somebody may ask for its address again.
async fn to_sources() -> Redirect {
    Redirect::to("/operate/sources")
}

async fn to_quarantine() -> Redirect {
    Redirect::to("/operate/quarantine")
}

/// All addresses of the section.
pub fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/operate", get(async || Redirect::to("/operate/rollups")))
        .route("/operate/rollups", get(rollups::show))
        .route("/operate/rollups/run", post(rollups::run_now))
        .route("/operate/sync", get(sync::show))
        .route("/operate/sync/run", post(sync::run_now))
        .route("/operate/partitions", get(partitions::show))
        .route("/operate/quarantine", get(quarantine::show))
        .route("/operate/quarantine/replay", get(to_quarantine).post(quarantine::replay))
        .route("/operate/sources", get(sources::show).post(sources::add))
        .route("/operate/sources/data", get(arriving::data))
        .route("/operate/sources/rotate", get(to_sources).post(sources::rotate))
        .route("/operate/sources/disable", get(to_sources).post(sources::disable))
        .route("/operate/sources/enable", get(to_sources).post(sources::enable))
        .route("/operate/usage", get(usage::show))
        .route("/operate/audit", get(audit_log::show))
        .route("/operate/people", get(people::show))
        .route("/operate/people/end-sessions", post(people::end_sessions))
}
