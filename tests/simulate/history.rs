//! One history: some collectors on one database, a random course of events and faults, and what must hold at its end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::sleep;
use uuid::Uuid;
use weir::clock::Clock;
use weir::event_id::event_id;
use weir::journal::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use weir::journal::scan::scan;
use weir::journal::{Durability, OpenError};
use weir::row;

use crate::disk::SimDisk;
use crate::node::{Answer, Event, Machine, Process, RETAIN, SEGMENT_BYTES, Settings, SimClock, segments};
use crate::postgres::{Mischief, Model, hour_of};
use crate::random::Random;

const STEPS_MIN: u64 = 30;
const STEPS_MORE: u64 = 120;
/// Simulated time after which everything must have come to rest once all is well again.
const REST_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// Simulated time: several times what the longest history takes.
const COURSE_MAX: Duration = Duration::from_secs(4 * 24 * 60 * 60);

/// The answer to a commit takes a moment, and from then on it is retained.
const FAIL_OVER_LAG: Duration = RETAIN.saturating_sub(Duration::from_secs(1));
/// An idle lane asks every ten seconds whether the database has forgotten something.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
/// What cannot be read is read twice more, a pause apart, before it is stepped over.
const DAMAGE_BELIEVED_AFTER: Duration = Duration::from_secs(31);

/// Which faults a history may have.
#[expect(clippy::struct_excessive_bools, reason = "they are independent")]
struct Weather {
    power_cuts: bool,
    disk_errors: bool,
    bit_flips: bool,
    failovers: bool,
    backups: bool,
    poison: bool,
    schema: bool,
}

struct Node {
    machine: Machine,
    process: Option<Process>,
    backup: Option<SimDisk>,
    waiting: Vec<(Vec<Event>, Answer)>,
}

/// See the module.
pub struct History {
    random: Random,
    weather: Weather,
    database: Model,
    nodes: Vec<Node>,
    /// Everything that was ever sent.
    sent: BTreeMap<Uuid, bool>,
    /// What a success was heard for.
    promised: BTreeSet<Uuid>,
    /// Promised, and then the disk itself was lost: the guarantee ends there.
    excused: BTreeSet<Uuid>,
    /// Ranges whose bits have rotted.
    damages: u32,
    poison: BTreeSet<Uuid>,
    named: Vec<Event>,
    durability: Durability,
}

impl History {
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        let durability = if random.permille(150) { Durability::Database } else { Durability::Journal };
        let is_on_disk = durability == Durability::Journal;
        let weather = Weather {
            power_cuts: is_on_disk && random.coin(),
            disk_errors: is_on_disk && random.permille(300),
            bit_flips: is_on_disk && random.permille(150),
            failovers: is_on_disk && random.permille(300),
            backups: is_on_disk && random.permille(150),
            poison: random.permille(300),
            schema: random.permille(100),
        };
        let database = Model::new(random.clone());
        let settings = Settings {
            durability,
            lanes: 1 + random.below(2) as usize,
            bytes_max: if random.permille(200) { 6 * SEGMENT_BYTES } else { u64::MAX },
        };
        let clock = Arc::new(SimClock::new());
        let node = |disk: SimDisk| Node {
            machine: Machine { disk, clock: Arc::clone(&clock), random: random.clone(), settings },
            process: None,
            backup: None,
            waiting: Vec::new(),
        };
        let mut nodes = vec![node(SimDisk::new(random.clone()))];
        if random.permille(300) {
            nodes.push(node(SimDisk::new(random.clone())));
        }
        Self {
            random,
            weather,
            database,
            nodes,
            sent: BTreeMap::new(),
            promised: BTreeSet::new(),
            excused: BTreeSet::new(),
            damages: 0,
            poison: BTreeSet::new(),
            named: Vec::new(),
            durability,
        }
    }

    /// Runs the history to its end and checks it.
    pub async fn run(mut self) {
        for _ in 0..STEPS_MIN + self.random.below(STEPS_MORE) {
            let at = self.random.below(self.nodes.len() as u64) as usize;
            self.step(at).await;
        }
        self.end().await;
    }

    async fn step(&mut self, at: usize) {
        if self.nodes[at].process.is_none() {
            self.start(at);
            return;
        }
        match self.random.below(100) {
            0..=54 => self.send(at).await,
            55..=79 => {
                let most_ms = if self.random.permille(50) { 200_000 } else { 1_500 };
                sleep(Duration::from_millis(self.random.below(most_ms))).await;
            }
            80..=85 => self.kill(at).await,
            86..=88 => self.stop(at).await,
            89..=93 => self.trouble_database(),
            94..=96 => self.trouble_disk(at),
            97 => {
                let ms = self.random.below(7_200_000) as i64 - 3_600_000;
                self.nodes[at].machine.clock.jump(ms);
            }
            _ => self.trouble_journal(at).await,
        }
        self.listen();
    }

    fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        match Process::start(&node.machine, &self.database) {
            Ok(process) => node.process = Some(process),
            // A disk that refuses even now is mended before the next try.
            Err(OpenError::Io { .. }) => node.machine.disk.heal(),
            Err(error) => panic!("a journal of ours cannot be opened: {error}"),
        }
    }

    async fn send(&mut self, at: usize) {
        for _ in 0..=self.random.below(3) {
            let events = (0..=self.random.below(3)).map(|_| self.event(at)).collect::<Vec<_>>();
            let node = &mut self.nodes[at];
            let Some(process) = &mut node.process else { return };
            if let Ok(answer) = process.submit(&events) {
                node.waiting.push((events, answer));
            }
        }
        let node = &mut self.nodes[at];
        if !node.process.as_mut().is_some_and(Process::write) {
            // The disk has failed for good: the process ends by itself.
            self.listen();
            if let Some(process) = self.nodes[at].process.take() {
                process.abort().await;
            }
            self.nodes[at].machine.disk.kill();
            return;
        }
        self.listen();
        if self.weather.power_cuts && self.random.permille(30) {
            // The moment after an answer is the moment of truth.
            self.end_process(at, true).await;
        }
    }

    fn event(&mut self, at: usize) -> Event {
        if !self.named.is_empty() && self.random.permille(150) {
            return self.named[self.random.below(self.named.len() as u64) as usize];
        }
        let now = self.nodes[at].machine.clock.now();
        let tail = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        let event = Event { id: event_id(now, tail), is_named: self.random.coin() };
        let is_poison = self.weather.poison && self.random.permille(50);
        self.database.know(event.id, event.is_named, is_poison);
        self.sent.insert(event.id, event.is_named);
        if is_poison {
            self.poison.insert(event.id);
        }
        if event.is_named {
            self.named.push(event);
        }
        event
    }

    /// Takes note of what senders have heard.
    fn listen(&mut self) {
        for node in &mut self.nodes {
            node.waiting.retain_mut(|(events, answer)| match answer.try_recv() {
                Ok(Ok(_)) => {
                    self.promised.extend(events.iter().map(|event| event.id));
                    false
                }
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => true,
                _ => false,
            });
        }
    }

    async fn end_process(&mut self, at: usize, is_power_cut: bool) {
        self.listen();
        let node = &mut self.nodes[at];
        // First the disk: what the dying process still tries must not help it.
        if is_power_cut {
            node.machine.disk.cut_power();
        } else {
            node.machine.disk.kill();
        }
        if let Some(process) = node.process.take() {
            process.abort().await;
        }
        node.waiting.clear();
    }

    async fn kill(&mut self, at: usize) {
        let is_power_cut = self.weather.power_cuts && self.random.coin();
        self.end_process(at, is_power_cut).await;
    }

    async fn stop(&mut self, at: usize) {
        if let Some(process) = self.nodes[at].process.take() {
            process.stop().await;
            self.listen();
        }
    }

    fn trouble_database(&mut self) {
        let often = |on: bool, permille: u64| if on { permille } else { 0 };
        match self.random.below(6) {
            0 => self.database.set_up(self.random.coin()),
            1 => self.database.crash(),
            2 if self.weather.failovers => {
                self.database.fail_over(FAIL_OVER_LAG, self.random.coin());
            }
            3 if self.weather.schema => self.database.set_schema_broken(self.random.coin()),
            _ => {
                let rough = self.random.permille(600);
                self.database.set_mischief(Mischief {
                    errors: often(rough, 30),
                    lost_answers: often(rough, 150),
                    zombies: often(rough, 100),
                    stalls: often(rough, 50),
                });
            }
        }
    }

    fn trouble_disk(&mut self, at: usize) {
        if !self.weather.disk_errors {
            return;
        }
        let disk = &self.nodes[at].machine.disk;
        match self.random.below(4) {
            0 => disk.fail_syncs(1 + self.random.below(2) as u32),
            1 => disk.fail_writes(1 + self.random.below(2) as u32),
            2 => disk.set_full(true),
            _ => disk.heal(),
        }
    }

    /// Bits rot, machines are restored from backups.
    async fn trouble_journal(&mut self, at: usize) {
        if self.weather.bit_flips && self.random.coin() {
            self.flip(at);
        }
        if !self.weather.backups {
            return;
        }
        if self.nodes[at].backup.is_none() {
            self.end_process(at, false).await;
            let node = &mut self.nodes[at];
            node.backup = Some(node.machine.disk.copy());
        } else if self.random.coin() {
            self.end_process(at, false).await;
            let stored = self.database.tables();
            let is_safe = |id: &Uuid| stored.rows.contains_key(id) || stored.quarantine.contains_key(id);
            let lost: Vec<Uuid> = self.promised.iter().filter(|id| !is_safe(id)).copied().collect();
            self.excused.extend(lost);
            if let Some(backup) = self.nodes[at].backup.take() {
                self.nodes[at].machine.disk = backup;
            }
            // Commits that only the lost disk could make good again.
            self.weather.failovers = false;
        }
    }

    /// One bit of a durable frame; the events of that frame may be lost, and no others.
    fn flip(&mut self, at: usize) {
        let disk = self.nodes[at].machine.disk.clone();
        let files: Vec<(PathBuf, Vec<u8>)> = disk.durable_files();
        let candidates: Vec<_> = segments(&files).collect();
        if candidates.is_empty() {
            return;
        }
        let (path, bytes) = candidates[self.random.below(candidates.len() as u64) as usize];
        let Some(Ok(header)) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().map(SegmentHeader::decode) else { return };
        let mut frames = Vec::new();
        scan(header.segment_id, bytes, |offset, frame| {
            let tuples = row::tuples(frame.tuples).map(|tuple| tuple.expect("a tuple"));
            let ids: Vec<Uuid> = tuples.map(|tuple| row::event_id(tuple).expect("a tuple")).collect();
            frames.push((offset as usize, frame.header.frame_bytes(), ids));
        });
        if frames.is_empty() {
            return;
        }
        // The books of what lay there are lost as well.
        self.damages += 1;
        let (offset, length, ids) = &frames[self.random.below(frames.len() as u64) as usize];
        self.excused.extend(ids);
        disk.flip(path, offset * 8 + self.random.below(*length as u64 * 8) as usize);
    }

    /// All is mended; everything must come to rest, and then the law holds.
    async fn end(mut self) {
        self.database.set_mischief(Mischief::default());
        self.database.set_schema_broken(false);
        self.database.set_up(true);
        for at in 0..self.nodes.len() {
            self.nodes[at].machine.disk.heal();
            while self.nodes[at].process.is_none() {
                self.start(at);
            }
        }
        sleep(Duration::from_secs(120)).await;
        self.listen();
        let rest = self.come_to_rest();
        assert!(tokio::time::timeout(REST_MAX, rest).await.is_ok(), "P6: no rest");
        self.check();
        if self.weather.failovers {
            // Nobody sends anything that would fail: the lanes find out by themselves, long before files are released.
            self.database.fail_over(FAIL_OVER_LAG, self.random.coin());
            sleep(NOTICED_WITHIN + DAMAGE_BELIEVED_AFTER * self.damages).await;
            self.check();
        }
        // Everything is released in the end, but for what a person must see.
        sleep(RETAIN * 3).await;
        for node in &self.nodes {
            let files = node.machine.disk.durable_files();
            let left = segments(&files).count() as u64;
            let process = node.process.as_ref().expect("runs");
            let active = node.machine.settings.lanes as u64;
            assert!(
                left <= active + process.state.forked_segments(),
                "P7: {left} segments are never released: {} {:?}",
                process.describe(),
                segments(&files).map(|(path, bytes)| (path, bytes.len())).collect::<Vec<_>>()
            );
        }
        for at in 0..self.nodes.len() {
            self.check_alive(at).await;
        }
        for node in &mut self.nodes {
            if let Some(process) = node.process.take() {
                process.stop().await;
            }
        }
        self.check();
    }

    /// Whoever is at rest says so, and takes events as if nothing had ever happened.
    async fn check_alive(&mut self, at: usize) {
        let process = self.nodes[at].process.as_ref().expect("runs");
        assert!(!process.lags(), "P6: a lane at rest says that something waits: {}", process.describe());
        if process.state.forked_segments() > 0 {
            // What is set aside may fill the journal.
            return;
        }
        let event = self.event(at);
        let process = self.nodes[at].process.as_mut().expect("runs");
        let before = process.pending();
        let mut answer = process.submit(&[event]).expect("the queue is empty");
        let is_on_disk = self.durability == Durability::Journal;
        if is_on_disk {
            self.database.set_up(false);
        }
        assert!(process.write(), "P6: the journal has ended");
        sleep(Duration::from_secs(30)).await;
        // An event that was known already leaves nothing to wait for.
        let is_waiting = process.pending() > before;
        assert!(process.lags() || !is_on_disk || !is_waiting, "P6: nobody says that an event waits");
        if is_on_disk {
            self.database.set_up(true);
        }
        sleep(Duration::from_secs(60)).await;
        let heard = answer.try_recv();
        assert!(matches!(heard, Ok(Ok(_))), "P6: {heard:?} for no reason on {:?}", self.durability);
        assert!(!process.lags(), "P6: a lane at rest says that something waits: {}", process.describe());
        self.promised.insert(event.id);
    }

    async fn come_to_rest(&self) {
        let is_at_rest = |node: &Node| node.process.as_ref().is_some_and(Process::is_at_rest);
        while !self.nodes.iter().all(is_at_rest) {
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn check(&self) {
        let tables = self.database.tables();
        for id in &self.promised {
            let stored = tables.rows.get(id).copied().unwrap_or(0);
            let quarantined = tables.quarantine.get(id).copied().unwrap_or(0);
            let is_named = self.sent[id];
            if self.excused.contains(id) {
                continue;
            }
            assert!(stored + quarantined > 0, "P2: {id} was promised and is nowhere");
            assert_eq!(stored > 0, !self.poison.contains(id), "P11: {id} is in the wrong place");
            assert!(is_named || stored + quarantined == 1, "P5: {id} was applied {} times", stored + quarantined);
        }
        for (id, count) in &tables.rows {
            assert!(self.sent.contains_key(id), "P2: {id} was never sent");
            assert_eq!(*count, 1, "P5: {id} is stored {count} times");
            assert!(tables.touched.contains_key(&hour_of(*id)), "P12: the hour of {id} is named to nobody");
        }
        let (mut stored, mut quarantined) = (0, 0);
        for row in tables.ledger.values() {
            for counts in row.sources.values() {
                stored += counts.settled.stored;
                quarantined += counts.settled.quarantined;
            }
        }
        assert_eq!(stored, tables.rows.values().map(|count| u64::from(*count)).sum::<u64>(), "P3: rows and ledger");
        assert_eq!(quarantined, tables.quarantine.values().map(|count| u64::from(*count)).sum::<u64>(), "P3");
        let has_lost = self.damages > 0 || !self.excused.is_empty();
        for node in self.nodes.iter().filter(|_| !has_lost) {
            let Some(process) = &node.process else { continue };
            for (source, balance) in process.balance() {
                assert_eq!(balance.accepted, balance.settled.total(), "P10: {source} on {:?}", self.durability);
            }
        }
    }
}

/// Runs the history of one seed; panics if a promise is broken.
pub fn run(seed: u64) {
    simulate(async { History::new(seed).run().await });
}

/// Runs `course` in simulated time on this thread.
pub fn simulate(course: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        // Who waits for what a broken promise holds back would wait for ever.
        assert!(tokio::time::timeout(COURSE_MAX, course).await.is_ok(), "P6: the course does not end");
    });
}
