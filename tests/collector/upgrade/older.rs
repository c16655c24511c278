//! An older collector's flush, by the statements of its source: moves a ledger row of its own, copies rows by the columns
//! that it knows, books them, and reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fixture::{Facts, statement};
use crate::support::connect;
use crate::support::record::Record;

const SEGMENT: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
const NODE: &str = "an older collector";
const SOURCE: &str = "web";
const ROWS: u64 = 5;
const FRAME_BYTES: i64 = 2_000;
const PAUSE: Duration = Duration::from_millis(10);

pub struct OlderFlush {
    stop: CancellationToken,
    transactions: Arc<AtomicU64>,
    running: JoinHandle<Record>,
}

impl OlderFlush {
    pub async fn start(url: &str, facts: &Facts) -> Self {
        let (stop, transactions) = (CancellationToken::new(), Arc::<AtomicU64>::default());
        let flush = Flush {
            client: connect(url).await,
            columns: facts.columns.clone(),
            // Its day has a partition for as long as the fixture has.
            at_ms: facts.made_at_ms,
            advance: statement("ledger_advance.sql"),
            settle: statement("ledger_settle.sql"),
            report: statement("promises_report.sql"),
        };
        flush.client.query(&statement("ledger_open.sql"), &[&SEGMENT, &NODE]).await.expect("opened");
        let running = tokio::spawn(flush.run(stop.clone(), Arc::clone(&transactions)));
        Self { stop, transactions, running }
    }

    /// That it has committed.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    pub async fn finish(self) -> Record {
        self.stop.cancel();
        self.running.await.expect("no statement failed")
    }
}

struct Flush {
    client: Client,
    columns: Vec<String>,
    at_ms: u64,
    advance: String,
    settle: String,
    report: String,
}

impl Flush {
    async fn run(mut self, stop: CancellationToken, transactions: Arc<AtomicU64>) -> Record {
        let mut record = Record::default();
        while !stop.is_cancelled() {
            let n = transactions.load(Ordering::Relaxed);
            self.transaction(n, &mut record).await;
            transactions.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        record
    }

    async fn transaction(&mut self, n: u64, record: &mut Record) {
        let at = UNIX_EPOCH + Duration::from_millis(self.at_ms);
        let hour = UNIX_EPOCH + Duration::from_secs(self.at_ms / 3_600_000 * 3_600);
        let transaction = self.client.transaction().await.expect("begun");
        let settings = "set local lock_timeout = 10000; set local statement_timeout = 60000";
        transaction.batch_execute(settings).await.expect("set");
        let position = |n: u64| (n as i64 * FRAME_BYTES, n as i64);
        let ((from, from_crc), (to, to_crc)) = (position(n), position(n + 1));
        let moved = transaction.execute(&self.advance, &[&SEGMENT, &from, &from_crc, &to, &to_crc]).await;
        assert_eq!(moved.expect("moved"), 1, "nobody else has this segment");

        let copy = format!("copy analytics.events ({}) from stdin (format binary)", self.columns.join(", "));
        let types: Vec<Type> = self.columns.iter().map(|column| type_of(column)).collect();
        let writer = BinaryCopyInWriter::new(transaction.copy_in(copy.as_str()).await.expect("a COPY"), &types);
        let mut writer = std::pin::pin!(writer);
        for row in n * ROWS..(n + 1) * ROWS {
            let (id, name) =
                (Uuid::from_u128(u128::from(self.at_ms) << 80 | 0x8 << 76 | u128::from(row)), format!("older-{row}"));
            let none: Option<&str> = None;
            let fields: Vec<&(dyn ToSql + Sync)> = (self.columns.iter())
                .map(|column| -> &(dyn ToSql + Sync) {
                    match column.as_str() {
                        "event_id" => &id,
                        "occurred_at" | "received_at" => &at,
                        "source" => &SOURCE,
                        "kind" => &"track",
                        "name" => &name,
                        "is_bot" => &false,
                        _ => &none,
                    }
                })
                .collect();
            writer.as_mut().write(&fields).await.expect("a row");
            record.acknowledged(&name, true);
        }
        assert_eq!(writer.finish().await.expect("copied"), ROWS);

        let (sources, rows, none, hours) = (vec![SOURCE], vec![ROWS as i64], vec![0_i64], vec![hour]);
        let counts: [&(dyn ToSql + Sync); 7] = [&SEGMENT, &sources, &rows, &rows, &none, &none, &hours];
        transaction.execute(&self.settle, &counts).await.expect("booked");
        transaction.commit().await.expect("committed");
        let accepted = vec![((n + 1) * ROWS) as i64];
        let told = self.client.execute(&self.report, &[&NODE, &vec![SEGMENT], &sources, &accepted, &none]).await;
        told.expect("reported");
    }
}

/// Of the columns that are not null here; the others' NULLs are the same for every type.
fn type_of(column: &str) -> Type {
    match column {
        "event_id" => Type::UUID,
        "occurred_at" | "received_at" => Type::TIMESTAMPTZ,
        "is_bot" => Type::BOOL,
        _ => Type::TEXT,
    }
}
