//! Every metric of the collector, registered once in a recorder of its own.
//!
//! No global recorder: two collectors in one process, as in tests, do not mix. Hot paths hold handles; gauges that
//! others own are read when `/metrics` is asked for.

mod replication;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::replication::Replication;
use crate::accounting::Accounting;

/// From a tenth of a millisecond to half a minute: syncs, requests, and flushes all fall within.
const SECONDS_BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// See the module.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    requests: Mutex<HashMap<(&'static str, u16), Counter>>,
    requests_refused: Mutex<HashMap<&'static str, Counter>>,
    refused: Mutex<HashMap<&'static str, Counter>>,
    /// Sources that this collector replicates, each with the states of tables that it has told of.
    replicated: Mutex<HashMap<String, Vec<&'static str>>>,
    pub request_seconds: Histogram,
    pub received_bytes: Counter,
    pub mended_escapes: Counter,
    pub connections: ConnectionMetrics,
    pub user_agent_hits: Counter,
    pub user_agent_misses: Counter,
    pub user_agent_skipped: Counter,
    pub journal: JournalMetrics,
    pub flush: FlushMetrics,
    pub retention: RetentionMetrics,
    pub lake: LakeMetrics,
    pub clickhouse: ClickHouseMetrics,
}

/// What becomes of connections on one listener.
#[derive(Clone)]
pub struct ConnectionMetrics {
    pub open: Gauge,
    /// Over the limit.
    pub refused: Counter,
    pub idle: Counter,
    pub slow_head: Counter,
    pub not_reading: Counter,
    /// The handshake failed, or took too long.
    pub no_tls: Counter,
    /// What came was not HTTP, or not clear.
    pub malformed: Counter,
}

impl ConnectionMetrics {
    /// Where nobody counts.
    pub fn noop() -> Self {
        let none = Counter::noop;
        Self {
            open: Gauge::noop(),
            refused: none(),
            idle: none(),
            slow_head: none(),
            not_reading: none(),
            no_tls: none(),
            malformed: none(),
        }
    }

    fn new(register: &Register<'_>) -> Self {
        let cut = |reason| {
            let help = "Connections that the collector closed, by reason.";
            register.labelled("weir_connections_cut_total", help, "reason", reason)
        };
        Self {
            open: register.gauge("weir_connections", "Open connections on the public listener."),
            refused: register.counter("weir_connections_refused_total", "Connections answered 503, over the limit."),
            idle: cut("idle"),
            slow_head: cut("slow_head"),
            not_reading: cut("not_reading"),
            no_tls: cut("no_tls"),
            malformed: cut("malformed"),
        }
    }
}

/// What the journal thread reports.
#[derive(Clone)]
pub struct JournalMetrics {
    sync_seconds: Histogram,
    written_bytes: Counter,
    frames: Counter,
}

impl JournalMetrics {
    /// A frame of `bytes` took `elapsed` to write and sync.
    pub fn synced(&self, bytes: usize, elapsed: Duration) {
        self.sync_seconds.record(elapsed);
        self.written_bytes.increment(bytes as u64);
        self.frames.increment(1);
    }
}

/// What the flush lanes report.
#[derive(Clone)]
pub struct FlushMetrics {
    pub rows: Counter,
    pub seconds: Histogram,
    pub retries: Counter,
    /// Transactions that had to sort out duplicates or refused rows.
    pub careful: Counter,
    pub stopped_lanes: Gauge,
}

/// What retention reports.
#[derive(Clone)]
pub struct RetentionMetrics {
    /// Events.
    pub removed: Counter,
    pub failures: Counter,
    /// Unix time of the last run that left nothing over.
    pub succeeded_at: Gauge,
}

impl RetentionMetrics {
    /// Where nobody counts.
    pub fn noop() -> Self {
        Self { removed: Counter::noop(), failures: Counter::noop(), succeeded_at: Gauge::noop() }
    }
}

/// What the export to the lake reports.
#[derive(Clone)]
pub struct LakeMetrics {
    pub files: Counter,
    pub rows: Counter,
    pub bytes: Counter,
    pub failures: Counter,
    /// Days of which the lake may lack something.
    pub waiting: Gauge,
    /// Since when the first of them does.
    pub waiting_seconds: Gauge,
    /// Unix time of the last run that left nothing due.
    pub succeeded_at: Gauge,
}

impl LakeMetrics {
    /// Where nobody counts.
    pub fn noop() -> Self {
        let (none, zero) = (Counter::noop, Gauge::noop);
        Self {
            files: none(),
            rows: none(),
            bytes: none(),
            failures: none(),
            waiting: zero(),
            waiting_seconds: zero(),
            succeeded_at: zero(),
        }
    }

    fn new(register: &Register<'_>) -> Self {
        Self {
            files: register.counter("weir_lake_files_total", "Objects that this collector wrote to the lake."),
            rows: register.counter("weir_lake_rows_total", "Rows in them."),
            bytes: register.counter("weir_lake_bytes_total", "Bytes in them."),
            failures: register
                .counter("weir_lake_failures_total", "Runs that left something out of the lake: see the log."),
            waiting: register
                .gauge("weir_lake_days_waiting", "Days that are over of which the lake may lack something."),
            waiting_seconds: register
                .gauge("weir_lake_waiting_seconds", "Since when the lake may lack something that is in the database."),
            succeeded_at: register.gauge(
                "weir_lake_succeeded_timestamp_seconds",
                "When this collector's last run ended well; only one collector runs it at a time.",
            ),
        }
    }
}

/// What following in `ClickHouse` reports.
#[derive(Clone)]
pub struct ClickHouseMetrics {
    pub rows: Counter,
    pub deleted: Counter,
    pub failures: Counter,
    /// What `ClickHouse` may lack: events by id, and stretches of time.
    pub waiting_events: Gauge,
    pub waiting_ranges: Gauge,
    /// Since when the first of them waits.
    pub waiting_seconds: Gauge,
}

impl ClickHouseMetrics {
    pub fn tell(&self, events: i64, ranges: i64, seconds: f64) {
        self.waiting_events.set(events as f64);
        self.waiting_ranges.set(ranges as f64);
        self.waiting_seconds.set(seconds);
    }

    fn new(register: &Register<'_>) -> Self {
        Self {
            rows: register.counter("weir_clickhouse_rows_total", "Rows that this collector inserted into ClickHouse."),
            deleted: register.counter("weir_clickhouse_deleted_total", "Rows that it had deleted there."),
            failures: register.counter(
                "weir_clickhouse_failures_total",
                "Attempts to follow that failed, by ClickHouse or by the database: see the log.",
            ),
            waiting_events: register
                .gauge("weir_clickhouse_events_waiting", "Events that ClickHouse may lack, known by their ids."),
            waiting_ranges: register
                .gauge("weir_clickhouse_ranges_waiting", "Stretches of time of which ClickHouse may lack something."),
            waiting_seconds: register.gauge(
                "weir_clickhouse_waiting_seconds",
                "Since when ClickHouse may lack something that is in the database.",
            ),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let buckets = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = buckets.build_recorder();
        let handle = recorder.handle();
        let register = Register(&recorder);
        let metrics = Self {
            requests: Mutex::default(),
            requests_refused: Mutex::default(),
            refused: Mutex::default(),
            replicated: Mutex::default(),
            request_seconds: register.histogram("weir_request_seconds", "From a request's head to its answer."),
            received_bytes: register.counter("weir_received_bytes_total", "Bytes of request bodies, as sent."),
            mended_escapes: register.counter(
                "weir_mended_escapes_total",
                "NULs and lone surrogates in events, replaced by U+FFFD because PostgreSQL cannot hold them.",
            ),
            connections: ConnectionMetrics::new(&register),
            user_agent_hits: register.labelled(
                "weir_user_agent_cache_total",
                "User agents by how they were known.",
                "result",
                "hit",
            ),
            user_agent_misses: register.labelled("weir_user_agent_cache_total", "", "result", "miss"),
            user_agent_skipped: register.labelled("weir_user_agent_cache_total", "", "result", "skipped"),
            journal: JournalMetrics {
                sync_seconds: register.histogram("weir_journal_sync_seconds", "Writing and syncing one frame."),
                written_bytes: register.counter("weir_journal_written_bytes_total", "Bytes written to the journal."),
                frames: register.counter("weir_journal_frames_total", "Group commits."),
            },
            flush: FlushMetrics {
                rows: register.counter("weir_flush_rows_total", "Rows committed to analytics.events."),
                seconds: register.histogram("weir_flush_seconds", "One flush transaction."),
                retries: register
                    .counter("weir_flush_retries_total", "Flush transactions that failed and were repeated."),
                careful: register.counter(
                    "weir_flush_careful_total",
                    "Flush transactions that had to sort out duplicates or refused rows.",
                ),
                stopped_lanes: register.gauge("weir_flush_stopped_lanes", "Lanes that wait for a person: see the log."),
            },
            retention: RetentionMetrics {
                removed: register.counter(
                    "weir_retention_events_removed_total",
                    "Events that this collector removed because they were older than they are to be kept.",
                ),
                failures: register.counter(
                    "weir_retention_failures_total",
                    "Runs of retention that left something over: see the log.",
                ),
                succeeded_at: register.gauge(
                    "weir_retention_succeeded_timestamp_seconds",
                    "When this collector's last run of retention ended well; only one collector runs it at a time.",
                ),
            },
            lake: LakeMetrics::new(&register),
            clickhouse: ClickHouseMetrics::new(&register),
            recorder,
            handle,
        };
        metrics.set_labelled("weir_build_info", "The running version.", "version", env!("CARGO_PKG_VERSION"), 1.0);
        metrics
    }

    /// Counts one answered request.
    pub fn request(&self, route: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = requests.entry((route, status)).or_insert_with(|| {
            Register(&self.recorder).counter_with(
                "weir_requests_total",
                "Requests answered.",
                vec![Label::new("route", route), Label::new("status", status.to_string())],
            )
        });
        counter.increment(1);
    }

    /// Counts one request that failed whole.
    pub fn request_refused(&self, reason: &'static str) {
        let help = "Requests of which nothing was taken, by the error that was answered.";
        self.count_reason(&self.requests_refused, "weir_requests_refused_total", help, reason);
    }

    /// Counts one event that was not taken.
    pub fn refused(&self, reason: &'static str) {
        self.count_reason(&self.refused, "weir_events_refused_total", "Events not taken, by reason.", reason);
    }

    fn count_reason(
        &self,
        counters: &Mutex<HashMap<&'static str, Counter>>,
        name: &'static str,
        help: &'static str,
        reason: &'static str,
    ) {
        let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
        let register = || Register(&self.recorder).labelled(name, help, "reason", reason);
        counters.entry(reason).or_insert_with(register).increment(1);
    }

    /// Sets a gauge that is read from elsewhere at the time of the scrape.
    pub fn set(&self, name: &'static str, help: &'static str, value: f64) {
        Register(&self.recorder).gauge(name, help).set(value);
    }

    fn set_labelled(&self, name: &'static str, help: &'static str, label: &'static str, text: &str, value: f64) {
        let register = Register(&self.recorder);
        register.0.describe_gauge(KeyName::from_const_str(name), None, help.into());
        let key = Key::from_parts(name, vec![Label::new(label, text.to_owned())]);
        register.0.register_gauge(&key, &METADATA).set(value);
    }

    /// Writes the events' whereabouts into the recorder.
    pub fn set_accounting(&self, accounting: &Accounting) {
        const HELP: &str = "Events by outcome since the oldest segment in the journal: accepted = stored + duplicate + quarantined + pending.";
        for (source, balance) in accounting.balances() {
            for (outcome, events) in [
                ("accepted", balance.accepted),
                ("stored", balance.settled.stored),
                ("duplicate", balance.settled.duplicate),
                ("quarantined", balance.settled.quarantined),
            ] {
                let labels = vec![Label::new("outcome", outcome), Label::new("source", source.clone())];
                Register(&self.recorder).counter_with("weir_events_total", HELP, labels).absolute(events);
            }
            let help = "Accepted events that are only in the journal.";
            self.set_labelled("weir_events_pending", help, "source", &source, balance.pending() as f64);
        }
    }

    /// What `weir.accounting` does not explain of a source.
    pub fn unexplained(&self, source: &str, events: i64) {
        let help = "Events that weir.accounting does not explain, above 0: accepted, and nowhere. At the collector that looks after rollups.";
        self.set_labelled("weir_unexplained_events", help, "source", source, events as f64);
    }

    /// A run of a rollup has ended: how long it took and what it wrote, or that it failed.
    pub fn rollup_ran(&self, name: &str, done: Option<(Duration, u64)>) {
        let register = Register(&self.recorder);
        let label = || vec![Label::new("rollup", name.to_owned())];
        let failures = register.counter_with("weir_rollup_failures_total", "Runs of rollups that failed.", label());
        let rows = register.counter_with("weir_rollup_rows_total", "Rows that runs of rollups wrote.", label());
        let Some((elapsed, written)) = done else {
            return failures.increment(1);
        };
        rows.increment(written);
        register.0.describe_histogram(
            KeyName::from_const_str("weir_rollup_run_seconds"),
            Some(Unit::Seconds),
            "One run of a rollup.".into(),
        );
        register.0.register_histogram(&Key::from_parts("weir_rollup_run_seconds", label()), &METADATA).record(elapsed);
    }

    /// How a rollup is: when its last run succeeded, Unix seconds, and how long the oldest change waits for it.
    pub fn rollup_is(&self, name: &str, succeeded_s: Option<i64>, lag_s: f64) {
        if let Some(succeeded_s) = succeeded_s {
            let help = "When the last run of a rollup succeeded, Unix time.";
            self.set_labelled("weir_rollup_last_success_timestamp_seconds", help, "rollup", name, succeeded_s as f64);
        }
        let help = "Age of the oldest change of events that a rollup does not show yet.";
        self.set_labelled("weir_rollup_lag_seconds", help, "rollup", name, lag_s);
    }

    /// A run of a source has ended: records taken and rejected, or that it failed.
    pub fn sync_ran(&self, name: &str, done: Option<(u64, u64)>) {
        let register = Register(&self.recorder);
        let label = || vec![Label::new("source", name.to_owned())];
        let failures = register.counter_with("weir_sync_failures_total", "Runs of sources that failed.", label());
        let rows = register.counter_with("weir_sync_rows_total", "Records of sources that became rows.", label());
        let help = "Records of sources that fit no table: see sync.rejects.";
        let rejected = register.counter_with("weir_sync_rejected_total", help, label());
        match done {
            Some((taken, refused)) => {
                rows.increment(taken);
                rejected.increment(refused);
            }
            None => failures.increment(1),
        }
    }

    /// When the last run of a source succeeded, Unix seconds.
    pub fn sync_is(&self, name: &str, succeeded_s: i64) {
        let help = "When the last run of a source succeeded, Unix time.";
        self.set_labelled("weir_sync_last_success_timestamp_seconds", help, "source", name, succeeded_s as f64);
    }

    /// Whether this collector looks after rollups.
    pub fn rollup_leads(&self, is_leader: bool) {
        let help = "Whether this collector looks after rollups: 1 at one of all.";
        self.set("weir_rollup_leader", help, f64::from(u8::from(is_leader)));
    }

    /// A person's session went beyond its limits, and was ended.
    pub fn analyst_cancelled(&self, reason: &'static str) {
        let help = "Statements and sessions of people that went beyond their limits, by reason.";
        Register(&self.recorder).labelled("weir_analyst_cancelled_total", help, "reason", reason).increment(1);
    }

    /// The Prometheus text format.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Registration with help text.
struct Register<'a>(&'a PrometheusRecorder);

impl Register<'_> {
    fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.counter_with(name, help, Vec::new())
    }

    fn labelled(&self, name: &'static str, help: &'static str, label: &'static str, value: &'static str) -> Counter {
        self.counter_with(name, help, vec![Label::new(label, value)])
    }

    fn counter_with(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Counter {
        if !help.is_empty() {
            self.0.describe_counter(KeyName::from_const_str(name), None, help.into());
        }
        self.0.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.0.describe_gauge(KeyName::from_const_str(name), None, help.into());
        self.0.register_gauge(&Key::from_name(name), &METADATA)
    }

    fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        self.0.describe_histogram(KeyName::from_const_str(name), Some(Unit::Seconds), help.into());
        self.0.register_histogram(&Key::from_name(name), &METADATA)
    }
}

/// Shared by everything that counts.
pub type SharedMetrics = Arc<Metrics>;
