//! What clients were told, and whether the table agrees.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

/// A backlog takes a while to arrive on a busy machine.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

/// Every event that was sent, by its name, which no two events share.
#[derive(Debug, Default)]
pub struct Record {
    events: BTreeMap<String, Known>,
}

#[derive(Debug, Default)]
struct Known {
    has_id: bool,
    acknowledged: bool,
    /// Times that no answer came.
    in_doubt: u64,
}

impl Known {
    /// The fewest and the most rows that keep the promise.
    fn rows(&self) -> (u64, u64) {
        let promised = u64::from(self.acknowledged);
        let most = promised + self.in_doubt;
        // With an id all sendings are one event.
        (promised, if self.has_id { most.min(1) } else { most })
    }
}

/// Where the table and the clients disagree.
#[derive(Debug, Default)]
pub struct Findings {
    pub acknowledged: usize,
    /// Events whose sender lost an answer at least once.
    pub doubted: usize,
    pub missing: Vec<String>,
    /// Rows too many: doubled, or never sent.
    pub extra: Vec<String>,
}

impl Record {
    pub fn acknowledged(&mut self, name: &str, has_id: bool) {
        let known = self.known(name, has_id);
        assert!(!known.acknowledged, "{name} was sent again after its 200: the test is at fault");
        known.acknowledged = true;
    }

    pub fn in_doubt(&mut self, name: &str, has_id: bool) {
        self.known(name, has_id).in_doubt += 1;
    }

    fn known(&mut self, name: &str, has_id: bool) -> &mut Known {
        let known = self.events.entry(name.to_owned()).or_default();
        known.has_id = has_id;
        known
    }

    pub fn add(&mut self, other: Self) {
        self.events.extend(other.events);
    }

    pub fn acknowledged_count(&self) -> usize {
        self.events.values().filter(|known| known.acknowledged).count()
    }

    /// Compares with the table as it is now.
    pub async fn compare(&self, client: &Client) -> Findings {
        let rows = client.query("select name, count(*) from analytics.events group by name", &[]).await.expect("read");
        let mut found: BTreeMap<String, u64> =
            rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).cast_unsigned())).collect();
        let mut findings = Findings { acknowledged: self.acknowledged_count(), ..Findings::default() };
        for (name, known) in &self.events {
            let (rows, (least, most)) = (found.remove(name).unwrap_or(0), known.rows());
            findings.doubted += usize::from(known.in_doubt > 0);
            if rows < least {
                findings.missing.push(name.clone());
            }
            if rows > most {
                findings.extra.push(format!("{name}: {rows} rows, {known:?}"));
            }
        }
        findings.extra.extend(found.into_keys().map(|name| format!("{name}: never sent")));
        findings
    }

    /// Waits until all has arrived and the books are closed: nothing missing, nothing extra, nothing unexplained.
    pub async fn until_exact(&self, client: &Client) -> Findings {
        let sql = "select coalesce(sum(accepted), 0)::bigint, coalesce(sum(pending), 0)::bigint,
                          coalesce(sum(abs(unexplained)), 0)::bigint, coalesce(sum(stored), 0)::bigint,
                          (select count(*) from analytics.events)
                     from weir.accounting";
        let started = Instant::now();
        loop {
            let row = client.query_one(sql, &[]).await.expect("read");
            let [accepted, pending, unexplained, stored, rows] =
                [0, 1, 2, 3, 4].map(|column| row.get::<_, i64>(column));
            let is_closed = pending == 0
                && unexplained == 0
                && stored == rows
                && accepted.cast_unsigned() >= self.acknowledged_count() as u64;
            let findings = self.compare(client).await;
            if is_closed && findings.missing.is_empty() {
                assert!(findings.extra.is_empty(), "extra: {:?}", findings.extra);
                return findings;
            }
            assert!(
                started.elapsed() < ARRIVAL_PATIENCE,
                "accepted {accepted}, pending {pending}, unexplained {unexplained}, booked as stored {stored}, rows {rows}; \
                 {} acknowledged, missing {}: {:?}, extra {}: {:?}",
                findings.acknowledged,
                findings.missing.len(),
                &findings.missing[..findings.missing.len().min(10)],
                findings.extra.len(),
                &findings.extra[..findings.extra.len().min(10)],
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acknowledged, doubted, missing, extra } = self;
        write!(
            f,
            "acknowledged {acknowledged}, answers lost {doubted}, missing {}, extra {}",
            missing.len(),
            extra.len()
        )
    }
}
