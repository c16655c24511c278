//! The operator's listener: metrics and health. Not for the public.
//!
//! With a token set, whoever does not show it sees only whether the collector is well, which balancers ask for, and the
//! documentation, which is the same everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::accounting::Accounting;
use crate::buffer::MemoryBudget;
use crate::clock::Clock;
use crate::docs;
use crate::flush::partitions::Partitions;
use crate::flush::shared::LaneState;
use crate::journal::JournalState;
use crate::journal::{Handle, SegmentFeed};
use crate::metrics::Metrics;
use crate::receive::answer::{json, refusal};

/// What the operator may look at.
pub struct Operator {
    pub metrics: Arc<Metrics>,
    pub accounting: Arc<Accounting>,
    pub journal: Arc<JournalState>,
    pub queue: Handle,
    pub feeds: Vec<Arc<SegmentFeed>>,
    pub lanes: Vec<Arc<LaneState>>,
    pub partitions: Arc<Partitions>,
    pub memory: MemoryBudget,
    pub clock: Arc<dyn Clock>,
    pub is_closing: AtomicBool,
    /// Whether the database answered when it was last asked.
    pub is_database_up: Arc<AtomicBool>,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    database: bool,
    journal_has_room: bool,
    freshness_lag_seconds: f64,
}

impl Operator {
    /// Seconds since the oldest event that is not yet in the database was journalled.
    pub fn freshness_lag_s(&self) -> f64 {
        let oldest_ms = self.lanes.iter().filter_map(|lane| lane.oldest_ms()).min();
        oldest_ms.map_or(0.0, |ms| (self.clock.now().as_millisecond() - ms).max(0) as f64 / 1_000.0)
    }

    fn health(&self) -> Health {
        let database = self.is_database_up.load(Ordering::Relaxed);
        let journal_has_room = !self.journal.is_refusing() && !self.journal.is_database_refusing();
        let status = match (self.is_closing.load(Ordering::Relaxed), journal_has_room, database) {
            (true, ..) => "closing",
            (_, false, _) => "refusing",
            (_, _, false) => "degraded",
            _ => "ok",
        };
        Health { status, database, journal_has_room, freshness_lag_seconds: self.freshness_lag_s() }
    }

    fn render(&self) -> String {
        let backlog: u64 = self.feeds.iter().map(|feed| feed.backlog_bytes()).sum();
        for (name, help, value) in [
            ("weir_queue_length", "Requests waiting for the journal.", self.queue.queue_length() as f64),
            ("weir_memory_reserved_bytes", "Bytes that requests in flight hold.", self.memory.reserved_bytes() as f64),
            ("weir_journal_bytes", "Bytes that journal segments occupy.", self.journal.bytes() as f64),
            ("weir_journal_bytes_max", "What they may occupy: journal.bytes_max.", self.journal.bytes_max() as f64),
            ("weir_journal_segments", "Journal segments.", self.journal.segments() as f64),
            (
                "weir_journal_damaged_bytes",
                "Journalled bytes that recovery could not read.",
                self.journal.damaged_bytes() as f64,
            ),
            (
                "weir_journal_forked_segments",
                "Segments set aside because another copy of this journal was applied: see the log.",
                self.journal.forked_segments() as f64,
            ),
            (
                "weir_journal_early_releases",
                "Applied segments deleted before journal.retain_s for want of room.",
                self.journal.early_releases() as f64,
            ),
            ("weir_journal_backlog_bytes", "Journalled bytes not yet in the database.", backlog as f64),
            ("weir_freshness_lag_seconds", "Age of the oldest event not yet in the database.", self.freshness_lag_s()),
            ("weir_partitions", "Partitions of analytics.events.", self.partitions.count() as f64),
            (
                "weir_database_up",
                "Whether the database answers.",
                f64::from(u8::from(self.is_database_up.load(Ordering::Relaxed))),
            ),
        ] {
            self.metrics.set(name, help, value);
        }
        self.metrics.set_accounting(&self.accounting);
        self.metrics.render()
    }
}

/// What anyone may ask.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// The admin routes, with those of others; an empty `token` is none. The console has a guard of its own: its people have no
/// token. Without one, this listener's first page is a list.
pub fn router(operator: Arc<Operator>, others: Router, console: Option<Router>, token: &str) -> Router {
    let has_console = console.is_some();
    let mut routes = Router::new();
    if !has_console {
        routes = routes.route("/", get(index));
    }
    let mut routes = routes
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(operator)
        .merge(others);
    if !has_console {
        routes = routes.fallback(not_found);
    }
    if !token.is_empty() {
        // Around everything that is here, so that no route can be forgotten.
        routes = routes.layer(middleware::from_fn_with_state(TokenHash::of(token.as_bytes()), authorize));
    }
    // What it says is in every copy of weir: it needs no token.
    let routes = routes.merge(docs::router());
    // Its fallback answers for all that is not here.
    match console {
        Some(console) => routes.merge(console),
        None => routes,
    }
}

/// The token is known and compared by its hash: how long that takes tells nothing about the token.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    fn is_shown_by(self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
        shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && Self::of(token.trim_ascii()) == self
        })
    }
}

async fn authorize(State(token): State<TokenHash>, request: Request, next: Next) -> Response {
    if OPEN.contains(&request.uri().path()) || token.is_shown_by(request.headers()) {
        return next.run(request).await;
    }
    let reason = "send admin.token as `Authorization: Bearer TOKEN`";
    let mut response = refusal(StatusCode::UNAUTHORIZED, "unauthorized", reason);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn index() -> &'static str {
    "weir\n\n/metrics  Prometheus metrics\n/healthz  is the process well?\n/readyz   can it take events?\n/docs/    the documentation\n"
}

async fn metrics(State(operator): State<Arc<Operator>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], operator.render()).into_response()
}

/// `200` for as long as the process works, however the database is: restarting would not help.
async fn healthz(State(operator): State<Arc<Operator>>) -> Response {
    json(StatusCode::OK, &operator.health())
}

/// `503` when events would be refused: while closing, or without room in the journal. A database that is away is no
/// reason: events are safe without it.
async fn readyz(State(operator): State<Arc<Operator>>) -> Response {
    let health = operator.health();
    let is_ready = matches!(health.status, "ok" | "degraded");
    json(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &health)
}
