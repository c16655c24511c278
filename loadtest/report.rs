//! The table: medians over the rounds, and the ratios between peers, taken round by round.

use serde::Serialize;

use crate::measure::{BareResult, Latency, WeirResult};

/// One round's results; what was left out is absent.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    pub bare: Option<BareResult>,
    pub copy_rows_per_second: Option<f64>,
    pub single: Option<WeirResult>,
    pub single_scheduled: Option<WeirResult>,
    pub memory: Option<WeirResult>,
    pub batch: Option<WeirResult>,
    pub batch_scheduled: Option<WeirResult>,
}

/// Everything that `--json` writes.
#[derive(Debug, Serialize)]
pub struct Report {
    pub command: String,
    pub machine: String,
    pub postgres: String,
    pub sync_8_kb_us: f64,
    pub connections: u32,
    pub seconds: u64,
    pub batch_events: u32,
    pub rounds: Vec<Round>,
}

/// One line's value of one round.
type Value<R> = fn(&R) -> f64;
/// A phase's column.
type Column = fn(&Round) -> Option<&WeirResult>;

const COLUMNS: [(&str, Column); 5] = [
    ("single", |round| round.single.as_ref()),
    ("single, half", |round| round.single_scheduled.as_ref()),
    ("memory", |round| round.memory.as_ref()),
    ("batch", |round| round.batch.as_ref()),
    ("batch, half", |round| round.batch_scheduled.as_ref()),
];

const LINES: [(&str, usize, Value<WeirResult>); 17] = [
    ("requests/s", 0, |result| result.requests_per_second),
    ("events answered 200/s", 0, |result| result.accepted_per_second),
    ("rows landed/s", 0, |result| result.landed_per_second),
    ("weir's CPU, us an event", 2, |result| result.cpu_us_per_event),
    ("  of it in user mode", 2, |result| result.cpu_user_us_per_event),
    ("generator, cores", 2, |result| result.generator_cores),
    ("PostgreSQL, cores", 2, |result| result.postgres_cores),
    ("other programs, cores", 2, |result| result.other_cores),
    ("stolen by the hypervisor", 2, |result| result.steal),
    ("memory, MiB", 0, |result| result.memory_mib),
    ("memory at its peak, MiB", 0, |result| result.memory_peak_mib),
    ("events a group commit", 1, |result| result.events_per_frame),
    ("write and sync, ms", 2, |result| result.sync_ms_mean),
    ("flushes/s", 1, |result| result.flushes_per_second),
    ("flush, ms", 1, |result| result.flush_ms_mean),
    ("freshness p50, ms", 0, |result| result.freshness_ms_p50),
    ("freshness max, ms", 0, |result| result.freshness_ms_max),
];

const LATENCY_LINES: [(&str, Value<Latency>); 7] = [
    ("latency p50, ms", |latency| latency.p50_ms),
    ("latency p90, ms", |latency| latency.p90_ms),
    ("latency p99, ms", |latency| latency.p99_ms),
    ("latency p99.9, ms", |latency| latency.p99_9_ms),
    ("latency max, ms", |latency| latency.max_ms),
    ("  generator late, p50", |latency| latency.late_p50_ms),
    ("  generator late, p99", |latency| latency.late_p99_ms),
];

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

impl Report {
    fn median(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<f64> {
        median(self.rounds.iter().filter_map(value).collect())
    }

    pub fn print(&self) {
        println!("\ncommand     {}", self.command);
        println!("machine     {}", self.machine);
        println!("disk        {:.0} us to write and sync 8 kB", self.sync_8_kb_us);
        println!("PostgreSQL  {}", self.postgres);
        println!(
            "load        {} connections, {} s a phase, {} events a batch; medians of {} rounds\n",
            self.connections,
            self.seconds,
            self.batch_events,
            self.rounds.len()
        );
        let bare = |value: Value<BareResult>| self.median(|round| round.bare.as_ref().map(value));
        line("bare axum handler, requests/s", 0, [bare(|bare| bare.requests_per_second)]);
        line("  its CPU, us a request", 2, [bare(|bare| bare.cpu_us_per_request)]);
        line("  of it in user mode", 2, [bare(|bare| bare.cpu_user_us_per_request)]);
        line("raw COPY of the same rows, rows/s", 0, [self.median(|round| round.copy_rows_per_second)]);
        print!("\n{:<34}", "weir");
        for (name, _) in COLUMNS {
            print!("{name:>14}");
        }
        println!();
        for (name, digits, value) in LINES {
            let medians = COLUMNS.map(|(_, column)| self.median(|round| column(round).map(value)));
            line(name, digits, medians);
        }
        for (name, value) in LATENCY_LINES {
            let medians = COLUMNS.map(|(_, column)| self.median(|round| column(round)?.latency.as_ref().map(value)));
            line(name, 2, medians);
        }
        println!();
        line(
            "weir single / bare, requests/s",
            2,
            [self.median(|round| {
                let (single, bare) = (round.single.as_ref()?, round.bare.as_ref()?);
                Some(single.requests_per_second / bare.requests_per_second)
            })],
        );
        line(
            "single with sync / in memory",
            2,
            [self.median(|round| {
                Some(round.single.as_ref()?.requests_per_second / round.memory.as_ref()?.requests_per_second)
            })],
        );
        line(
            "weir batch / raw COPY, rows/s",
            2,
            [self.median(|round| Some(round.batch.as_ref()?.landed_per_second / round.copy_rows_per_second?))],
        );
        for (number, round) in (1..).zip(&self.rounds) {
            for (name, column) in COLUMNS {
                for remark in column(round).iter().flat_map(|result| &result.remarks) {
                    println!("remark: round {number}, {name}: {remark}");
                }
            }
        }
        println!("\nEvery event answered 200 is one row, and every row was answered 200.");
    }
}

fn line<const N: usize>(name: &str, digits: usize, values: [Option<f64>; N]) {
    if values.iter().all(Option::is_none) {
        return;
    }
    print!("{name:<34}");
    for value in values {
        match value {
            Some(value) => print!("{:>14}", number(value, digits)),
            None => print!("{:>14}", ""),
        }
    }
    println!();
}

/// With commas between the thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
