//! The table: medians over the rounds, and the ratios between peers, taken round by round.

use std::path::Path;

use serde::Serialize;

use crate::commit::CommitResult;
use crate::console::ConsoleResult;
use crate::curve::CurveResult;
use crate::idle::IdleResult;
use crate::measure::{BareResult, CopyResult, Latency, WeirResult};
use crate::outage::OutageResult;
use crate::plot::{Goal, Plot};
use crate::recovery::RecoveryResult;
use crate::rivals::Rival;
use crate::several::SeveralResult;
use crate::usage::Cores;

/// One round's results; what was left out is absent.
#[derive(Debug, Default, Serialize)]
pub struct Round {
    pub bare: Option<BareResult>,
    pub copy: Option<CopyResult>,
    pub single: Option<WeirResult>,
    pub single_scheduled: Option<WeirResult>,
    pub commit: Option<CommitResult>,
    pub console: Option<ConsoleResult>,
    pub batch: Option<WeirResult>,
    pub batch_scheduled: Option<WeirResult>,
    pub outage: Option<OutageResult>,
    pub recovery: Option<RecoveryResult>,
    pub rivals: Vec<Rival>,
    pub idle: Option<IdleResult>,
    pub several: Option<SeveralResult>,
    pub curve: Option<CurveResult>,
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

const COLUMNS: [(&str, Column); 4] = [
    ("single", |round| round.single.as_ref()),
    ("single, half", |round| round.single_scheduled.as_ref()),
    ("batch", |round| round.batch.as_ref()),
    ("batch, half", |round| round.batch_scheduled.as_ref()),
];

const LINES: [(&str, usize, Value<WeirResult>); 20] = [
    ("requests/s", 0, |result| result.requests_per_second),
    ("events answered/s", 0, |result| result.accepted_per_second),
    ("rows landed/s", 0, |result| result.landed_per_second),
    ("weir's CPU, us an event", 2, |result| result.cpu_us_per_event),
    ("  of it in user mode", 2, |result| result.cpu_user_us_per_event),
    ("generator, cores", 2, |result| result.cores.generator),
    ("PostgreSQL, cores", 2, |result| result.cores.postgres),
    ("other programs, cores", 2, |result| result.cores.others),
    ("stolen by the hypervisor", 2, |result| result.cores.stolen),
    ("memory, MiB", 0, |result| result.memory_mib),
    ("memory at its peak, MiB", 0, |result| result.memory_peak_mib),
    ("events a group commit", 1, |result| result.events_per_frame),
    ("write and sync, ms", 2, |result| result.sync_ms_mean),
    ("flushes/s", 1, |result| result.flushes_per_second),
    ("flush, ms", 1, |result| result.flush_ms_mean),
    ("freshness p50, ms", 0, |result| result.freshness_ms_p50),
    ("freshness p99, ms", 0, |result| result.freshness_ms_p99),
    ("freshness max, ms", 0, |result| result.freshness_ms_max),
    ("bytes on disk an event", 0, |result| result.table_bytes_per_event),
    ("  of its indexes", 0, |result| result.index_bytes_per_event),
];

const OUTAGE_LINES: [(&str, usize, Value<OutageResult>); 16] = [
    ("backlog, events", 0, |outage| outage.backlog_events as f64),
    ("backlog in the journal, MiB", 0, |outage| outage.backlog_mib),
    ("memory before, MiB", 1, |outage| outage.memory_before_mib),
    ("  away, lowest", 1, |outage| outage.memory_away_min_mib),
    ("  away, highest", 1, |outage| outage.memory_away_max_mib),
    ("  catching up, highest", 1, |outage| outage.memory_catch_up_max_mib),
    ("from the return to the first row, s", 2, |outage| outage.first_row_s),
    ("  until caught up, s", 2, |outage| outage.caught_up_s),
    ("catching up, rows/s", 0, |outage| outage.catch_up_rows_per_second),
    ("  counted from the return, rows/s", 0, |outage| outage.return_rows_per_second),
    ("  median of half seconds, rows/s", 0, |outage| outage.window_rows_per_second),
    ("  weir, cores", 2, |outage| outage.cores.subject),
    ("  generator, cores", 2, |outage| outage.cores.generator),
    ("  PostgreSQL, cores", 2, |outage| outage.cores.postgres),
    ("  other programs, cores", 2, |outage| outage.cores.others),
    ("  stolen by the hypervisor", 2, |outage| outage.cores.stolen),
];

const RECOVERY_LINES: [(&str, usize, Value<RecoveryResult>); 6] = [
    ("journal, MiB", 0, |recovery| recovery.journal_mib),
    ("from the start until ready, s", 2, |recovery| recovery.ready_s),
    ("  until the last row, s", 2, |recovery| recovery.flushed_s),
    ("rows/s from the first on", 0, |recovery| recovery.rows_per_second),
    ("memory at its peak, MiB", 1, |recovery| recovery.memory_peak_mib),
    ("weir, cores", 2, |recovery| recovery.cores.subject),
];

/// A section of the live traffic through an outage.
type Section = fn(&OutageResult) -> &Latency;

const SECTIONS: [(&str, Section); 3] =
    [("before", |outage| &outage.before), ("away", |outage| &outage.away), ("catching up", |outage| &outage.catch_up)];

/// What two figures have to do with each other: name, the bar if it has one, and both figures of a round.
type Ratio = (&'static str, Goal, fn(&Round) -> Option<(f64, f64)>);

const RATIOS: [Ratio; 14] = [
    ("p99 with people / without", Goal::AtMost(1.1), |round| {
        Some((round.console.as_ref()?.busy_p99_ms, round.console.as_ref()?.quiet_p99_ms))
    }),
    ("weir single / bare, requests/s", Goal::AtLeast(0.75), |round| {
        Some((round.single.as_ref()?.requests_per_second, round.bare.as_ref()?.requests_per_second))
    }),
    ("single with sync / in memory", Goal::AtLeast(0.9), |round| round.commit.as_ref()?.requests_per_second()),
    ("weir batch / raw COPY, rows/s", Goal::AtLeast(0.9), |round| {
        Some((round.batch.as_ref()?.landed_per_second, round.copy.as_ref()?.rows_per_second))
    }),
    ("catching up / raw COPY, rows/s", Goal::AtLeast(0.8), |round| {
        Some((round.outage.as_ref()?.catch_up_rows_per_second, round.copy.as_ref()?.rows_per_second))
    }),
    ("catching up, from the return / COPY", Goal::None, |round| {
        Some((round.outage.as_ref()?.return_rows_per_second, round.copy.as_ref()?.rows_per_second))
    }),
    ("catching up, median half s / COPY", Goal::None, |round| {
        Some((round.outage.as_ref()?.window_rows_per_second, round.copy.as_ref()?.rows_per_second))
    }),
    ("weir single / Reload, requests/s", Goal::AtLeast(12.0), |round| {
        Some((round.single.as_ref()?.requests_per_second, round.rival("reload")?))
    }),
    ("weir single / axum and INSERTs", Goal::None, |round| {
        Some((round.single.as_ref()?.requests_per_second, round.rival("axum")?))
    }),
    ("weir single / Express and INSERTs", Goal::None, |round| {
        Some((round.single.as_ref()?.requests_per_second, round.rival("express")?))
    }),
    ("weir single / FastAPI and INSERTs", Goal::None, |round| {
        Some((round.single.as_ref()?.requests_per_second, round.rival("fastapi")?))
    }),
    ("four collectors / one, requests/s", Goal::None, |round| round.several.as_ref()?.requests_per_second()),
    ("four collectors / one, rows/s", Goal::None, |round| round.several.as_ref()?.landed_per_second()),
    ("recovering / raw COPY, rows/s", Goal::AtLeast(0.9), |round| {
        Some((round.recovery.as_ref()?.rows_per_second, round.copy.as_ref()?.rows_per_second))
    }),
];

/// A figure with a bar of its own: name, digits, bar, and the figure of a round.
type Figure = (&'static str, usize, Goal, fn(&Round) -> Option<f64>);

const FIGURES: [Figure; 11] = [
    ("weir's CPU, us a single event", 1, Goal::AtMost(15.0), |round| Some(round.single.as_ref()?.cpu_us_per_event)),
    ("weir's CPU, us an event of a batch", 1, Goal::AtMost(3.0), |round| Some(round.batch.as_ref()?.cpu_us_per_event)),
    ("ack p99 at half speed, ms", 1, Goal::AtMost(10.0), |round| {
        Some(round.single_scheduled.as_ref()?.latency.as_ref()?.p99_ms)
    }),
    ("ack p99 at half speed, batch, ms", 1, Goal::AtMost(10.0), |round| {
        Some(round.batch_scheduled.as_ref()?.latency.as_ref()?.p99_ms)
    }),
    ("freshness p99 at half speed, ms", 0, Goal::AtMost(1_000.0), |round| {
        Some(round.single_scheduled.as_ref()?.freshness_ms_p99)
    }),
    ("memory idle with GeoIP, MiB", 1, Goal::AtMost(80.0), |round| round.idle.as_ref()?.memory_with_geo_mib),
    ("memory idle, MiB", 1, Goal::None, |round| Some(round.idle.as_ref()?.memory_mib)),
    ("memory at full load, MiB", 1, Goal::AtMost(160.0), |round| {
        let single = round.single.as_ref()?.memory_peak_mib;
        Some(round.batch.as_ref().map_or(single, |batch| batch.memory_peak_mib.max(single)))
    }),
    ("memory with PostgreSQL away, MiB", 1, Goal::AtMost(160.0), |round| {
        Some(round.outage.as_ref()?.memory_away_max_mib)
    }),
    ("bytes on disk an event, with indexes", 0, Goal::AtMost(450.0), |round| {
        let single = round.single.as_ref()?;
        Some(single.table_bytes_per_event + single.index_bytes_per_event)
    }),
    ("recovery until ready, s", 2, Goal::AtMost(1.0), |round| Some(round.recovery.as_ref()?.ready_s)),
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

/// Of an even number of values, between the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
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
        let copy = |value: Value<CopyResult>| self.median(|round| round.copy.as_ref().map(value));
        line("raw COPY of the same rows, rows/s", 0, [copy(|copy| copy.rows_per_second)]);
        line("  bytes a row", 0, [copy(|copy| copy.row_bytes)]);
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
        for curve in self.rounds.iter().filter_map(|round| round.curve.as_ref()) {
            curve.print();
        }
        self.print_recovery();
        self.print_outage();
        println!();
        for ratio in RATIOS {
            self.print_ratio(ratio);
        }
        for figure in FIGURES {
            self.print_figure(figure);
        }
        for (number, commit) in (1..).zip(self.rounds.iter().filter_map(|round| round.commit.as_ref())) {
            if let Some((low, high)) = commit.quartiles() {
                println!(
                    "  half of round {number}'s {} pairs of seconds lie within {low:.2} and {high:.2}",
                    commit.slices.len()
                );
            }
        }
        for (number, round) in (1..).zip(&self.rounds) {
            for (phase, remark) in round.remarks() {
                println!("remark: round {number}, {phase}: {remark}");
            }
        }
        println!(
            "\nEvery event answered 200 (by the collector in memory, 202) is one row, and every row was answered so."
        );
    }

    fn print_recovery(&self) {
        if self.rounds.iter().all(|round| round.recovery.is_none()) {
            return;
        }
        println!("\nkilled, and started again");
        for (name, digits, value) in RECOVERY_LINES {
            line(name, digits, [self.median(|round| round.recovery.as_ref().map(value))]);
        }
    }

    fn print_outage(&self) {
        if self.rounds.iter().all(|round| round.outage.is_none()) {
            return;
        }
        println!("\nPostgreSQL goes away and comes back");
        for (name, digits, value) in OUTAGE_LINES {
            line(name, digits, [self.median(|round| round.outage.as_ref().map(value))]);
        }
        print!("{:<34}", "live traffic");
        for (name, _) in SECTIONS {
            print!("{name:>14}");
        }
        println!();
        for (name, value) in LATENCY_LINES {
            let medians =
                SECTIONS.map(|(_, section)| self.median(|round| round.outage.as_ref().map(section).map(value)));
            line(name, 2, medians);
        }
    }

    /// The rounds' median, and the ratio of the medians: where they lie on both sides of a bar, there are too few rounds.
    fn print_ratio(&self, (name, goal, figures): Ratio) {
        let (above, below): (Vec<f64>, Vec<f64>) = self.rounds.iter().filter_map(figures).unzip();
        let ratios: Vec<f64> = above.iter().zip(&below).map(|(above, below)| above / below).collect();
        let texts = texts(&ratios, 2);
        let (Some(of_rounds), Some(above), Some(below)) = (median(ratios), median(above), median(below)) else {
            return;
        };
        let of_medians = above / below;
        print!("{name:<36}{:>12}  of {texts}; of the medians {}", number(of_rounds, 2), number(of_medians, 2));
        println!("{}", verdict(goal, &[of_rounds, of_medians]));
    }

    fn print_figure(&self, (name, digits, goal, figure): Figure) {
        let figures: Vec<f64> = self.rounds.iter().filter_map(figure).collect();
        let texts = texts(&figures, digits);
        let Some(middle) = median(figures) else { return };
        println!("{name:<36}{:>12}  of {texts}{}", number(middle, digits), verdict(goal, &[middle]));
    }

    /// A picture for each ratio and figure.
    pub fn plot(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        let ratios = RATIOS.iter().map(|(name, goal, figures)| {
            let of_round = |round| figures(round).map(|(above, below)| above / below);
            (*name, *goal, self.rounds.iter().map(of_round).collect::<Vec<_>>())
        });
        let figures = FIGURES
            .iter()
            .map(|(name, _, goal, figure)| (*name, *goal, self.rounds.iter().map(figure).collect::<Vec<_>>()));
        for (title, goal, values) in ratios.chain(figures) {
            let (labels, values): (Vec<String>, Vec<f64>) =
                (1..).zip(values).filter_map(|(round, value)| Some((format!("round {round}"), value?))).unzip();
            if !values.is_empty() {
                let median = median(values.clone());
                Plot { title: title.trim().to_owned(), labels, values, median, goal }.write(dir)?;
            }
        }
        for curve in self.rounds.iter().filter_map(|round| round.curve.as_ref()) {
            for plot in curve.plots() {
                plot.write(dir)?;
            }
        }
        Ok(())
    }
}

fn texts(values: &[f64], digits: usize) -> String {
    values.iter().map(|value| number(*value, digits)).collect::<Vec<_>>().join(" ")
}

fn verdict(goal: Goal, values: &[f64]) -> String {
    let met = values.iter().filter(|value| goal.is_met(**value)).count();
    match goal {
        Goal::None => String::new(),
        _ if met == 0 => format!("  MISSES the bar: {}", goal.text()),
        _ if met < values.len() => format!("  UNDECIDED at the bar: {}", goal.text()),
        _ => format!("  (bar: {})", goal.text()),
    }
}

impl Round {
    fn rival(&self, name: &str) -> Option<f64> {
        Some(self.rivals.iter().find(|rival| rival.name == name)?.requests_per_second)
    }

    fn cores(&self) -> impl Iterator<Item = (&'static str, Cores)> {
        let peers =
            [("bare", self.bare.as_ref().map(|bare| bare.cores)), ("copy", self.copy.as_ref().map(|copy| copy.cores))];
        let weir = COLUMNS.map(|(name, column)| (name, column(self).map(|result| result.cores)));
        let commit = ("commit", self.commit.as_ref().map(|commit| commit.cores));
        let outage = ("outage", self.outage.as_ref().map(|outage| outage.cores));
        peers.into_iter().chain(weir).chain([commit, outage]).filter_map(|(phase, cores)| Some((phase, cores?)))
    }

    /// Which phases were disturbed, and what the collector complained of.
    fn remarks(&self) -> Vec<(&'static str, String)> {
        let disturbed = self.cores().filter_map(|(phase, cores)| Some((phase, cores.remark()?)));
        let complaints = COLUMNS.into_iter().filter_map(|(phase, column)| Some((phase, &column(self)?.remarks)));
        let of_outage = self.outage.as_ref().map(|outage| ("outage", &outage.remarks));
        let of_commit = self.commit.as_ref().map(|commit| ("commit", &commit.remarks));
        let of_several = self.several.as_ref().map(|several| ("several", &several.remarks));
        let told = complaints.chain(of_commit).chain(of_outage).chain(of_several);
        disturbed
            .chain(told.flat_map(|(phase, remarks)| remarks.iter().map(move |remark| (phase, remark.clone()))))
            .collect()
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
