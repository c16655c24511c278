//! A journal whose collector is gone, sent to the database by somebody else: `weir journal adopt`.
//!
//! It is what a restart of that collector would do: the same recovery reads the files, the same lanes send them, and the same
//! ledger decides what is still to be sent. So it makes no difference how often, by whom, or beside whom it is done, whether
//! it is cut short and begun again, or whether the owner is alive after all on a machine whose lock cannot be seen from
//! here: a transaction that begins elsewhere than the ledger stands does nothing.
//!
//! Nothing in the directory is removed, renamed or written to, but for the lock and the file that tells of it. An owner that
//! is alive finds its files as it left them, and after a failover the journal can be adopted once more.

mod owner;
pub(crate) mod standing;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::accounting::{Accounting, Settled};
use crate::config::Config;
use crate::database::{Database, DatabaseError, migrate};
use crate::flush::lane::Lane;
use crate::flush::outage::Outage;
use crate::flush::partitions::Partitions;
use crate::flush::postgres::Postgres;
use crate::flush::shared::Shared;
use crate::journal::adopted::{self, Adopted};
use crate::journal::recover::{Opened, open_foreign};
use crate::journal::{Durability, JournalState, OpenError, Segment, SegmentFeed};
use crate::metrics::Metrics;
use crate::promises::Promises;
use crate::run::World;
use standing::Standing;

/// Beside the lanes' connections: reports and questions take turns.
const OTHER_CONNECTIONS: usize = 1;
/// How often the reports are written, and progress is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Only look.
    pub dry_run: bool,
    /// Do not wait to see whether the owner still reports.
    pub is_owner_dead: bool,
    /// Send it to a database that has never heard of this journal, too.
    pub any_database: bool,
    /// It is given up when nothing has moved for so long.
    pub patience: Duration,
}

/// Why a journal was not adopted, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("{0}: its collector runs on this machine, and sends by itself what is in there")]
    Locked(OpenError),
    #[error("journal: {0}")]
    Journal(OpenError),
    #[error("database: {0}")]
    Database(#[from] DatabaseError),
    #[error(
        "the owner of this journal (node {node}) reported to the database {silent_s} s ago, while it was watched: it is \
         alive, and sends by itself what is in there; stop it first"
    )]
    Alive { node: String, silent_s: u64 },
    #[error(
        "this database has never heard of this journal (node {node}): is it the one that its collector wrote to? With \
         --any-database it is sent there all the same"
    )]
    Unknown { node: String },
    #[error(
        "nothing has moved for {seconds} s, with {waiting_bytes} bytes still to be sent: see the warnings above, mend the \
         cause, and call it again; it goes on where it was"
    )]
    Stalled { seconds: u64, waiting_bytes: u64 },
}

impl From<OpenError> for AdoptError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked(_) => Self::Locked(error),
            _ => Self::Journal(error),
        }
    }
}

/// What is told while it goes on.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The directory was read.
    Found {
        node: &'a str,
        segments: usize,
        events: u64,
        silent: Option<Duration>,
    },
    /// The owner reported a moment ago: so long it is watched.
    Watching(Duration),
    Sending {
        sent_bytes: u64,
        bytes: u64,
    },
}

/// What became of one segment, or what would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The database had all of it.
    Known,
    /// It was sent, wholly or the rest.
    Sent,
    /// It would be, or it still is to be.
    Waiting,
    /// The database knows another file of this name: two copies of one journal were written to.
    Forked,
    /// Its header is damaged: nothing in it can be read.
    Unreadable,
}

/// One segment, and what the database had of it before and has now.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: PathBuf,
    pub fate: Fate,
    /// Events that were promised in what is readable.
    pub events: u64,
    pub damaged_bytes: u64,
    before: Standing,
    after: Standing,
}

impl Told {
    /// What this adoption came to.
    pub fn came_to(&self) -> Settled {
        let (before, after) = (self.before.counts.settled, self.after.counts.settled);
        Settled {
            stored: after.stored.saturating_sub(before.stored),
            duplicate: after.duplicate.saturating_sub(before.duplicate),
            quarantined: after.quarantined.saturating_sub(before.quarantined),
        }
    }

    /// Events that the database had already.
    pub fn known(&self) -> u64 {
        if self.fate == Fate::Forked { 0 } else { self.before.counts.accepted }
    }

    /// Events that are still only in the file.
    pub fn waiting(&self) -> u64 {
        match self.fate {
            Fate::Forked => self.events,
            _ => self.events.saturating_sub(self.after.counts.accepted),
        }
    }
}

/// What the whole came to.
#[derive(Debug)]
pub struct Outcome {
    /// The journal's name.
    pub node: String,
    pub segments: Vec<Told>,
    /// Nothing was to be sent.
    is_dry: bool,
    /// Why the directory could not be marked.
    pub unmarked: Option<String>,
}

impl Outcome {
    pub fn sum(&self, of: impl Fn(&Told) -> u64) -> u64 {
        self.segments.iter().map(of).sum()
    }

    /// Whether everything that was ever promised in there is in the database.
    pub fn is_whole(&self) -> bool {
        let is_lost = |told: &Told| told.damaged_bytes > 0 || matches!(told.fate, Fate::Forked | Fate::Unreadable);
        !self.segments.iter().any(is_lost) && (self.is_dry || !self.waits())
    }

    /// Whether something is still only in the files: after a failover, say, that forgot commits.
    fn waits(&self) -> bool {
        self.segments.iter().any(|told| told.fate == Fate::Waiting)
    }
}

/// One segment as it was found.
struct Begun {
    segment: Arc<Segment>,
    events: u64,
    before: Standing,
}

/// Sends what the journal in `dir` still holds.
pub async fn adopt(
    config: &Config,
    world: &World,
    dir: &Path,
    options: Options,
    mut tell: impl FnMut(&Progress<'_>),
) -> Result<Outcome, AdoptError> {
    let mut opened = open_foreign(world.disk.as_ref(), world.entropy.as_ref(), dir)?;
    let lanes = config.flush.lanes;
    let connect = if options.dry_run { Database::reading } else { Database::new };
    let database = connect(&config.database, OTHER_CONNECTIONS)?;
    let events = opened.segments.iter().flat_map(|found| found.accepted.values()).sum();
    let has_schema = standing::has_schema(&database).await?;
    let owner = if has_schema { Some(owner::ask(&database, &opened.node).await?) } else { None };
    let silent = owner.as_ref().and_then(|owner| owner.silent);
    tell(&Progress::Found { node: &opened.node, segments: opened.segments.len(), events, silent });
    if !owner.as_ref().is_some_and(|owner| owner.is_known) && !options.any_database {
        return Err(AdoptError::Unknown { node: opened.node });
    }
    if !options.dry_run {
        if let Some(owner) = owner.as_ref().filter(|_| !options.is_owner_dead) {
            owner::until_silent(&database, &opened.node, owner, |left| tell(&Progress::Watching(left))).await?;
        }
        migrate::run(&database).await?;
    }
    let has_schema = has_schema || !options.dry_run;
    let begun = begin(&database, &opened, has_schema).await?;
    let (node, state) = (opened.node.clone(), Arc::new(JournalState::new(u64::MAX, config.journal.segment_bytes)));
    if !options.dry_run {
        // A file of which nothing can be read has nothing to send.
        opened.segments.retain(|found| !found.segment.id.is_nil());
        let sending = Sending::new(config, world, &node, Arc::clone(&state), lanes);
        sending.run(&database, &mut opened, options.patience, &mut tell).await?;
    }
    let ids: Vec<Uuid> = begun.iter().map(|begun| begun.segment.id).collect();
    let after = if has_schema { standing::standing(&database, &ids).await? } else { HashMap::new() };
    let segments = begun.into_iter().map(|begun| begun.told(&after, &state)).collect();
    let mut outcome = Outcome { node, segments, is_dry: options.dry_run, unmarked: None };
    if !options.dry_run && !outcome.waits() {
        outcome.unmarked = mark(world, dir, &outcome).err().map(|error| error.to_string());
    }
    database.close();
    Ok(outcome)
}

/// How the ledger stands to every segment before anything is sent.
async fn begin(database: &Database, opened: &Opened, has_schema: bool) -> Result<Vec<Begun>, DatabaseError> {
    let ids: Vec<Uuid> = opened.segments.iter().map(|found| found.segment.id).collect();
    let known = if has_schema { standing::standing(database, &ids).await? } else { HashMap::new() };
    let begun = opened.segments.iter().map(|found| Begun {
        segment: Arc::clone(&found.segment),
        events: found.accepted.values().sum(),
        before: known.get(&found.segment.id).copied().unwrap_or_default(),
    });
    Ok(begun.collect())
}

impl Begun {
    fn told(self, after: &HashMap<Uuid, Standing>, journal: &JournalState) -> Told {
        let Self { segment, events, before } = self;
        let after = after.get(&segment.id).copied().unwrap_or(before);
        let fate = if segment.id.is_nil() {
            Fate::Unreadable
        } else if !after.is_of(&segment, journal) {
            Fate::Forked
        } else if segment.readable_from(after.position.offset) < segment.progress.synced_to() {
            Fate::Waiting
        } else if after.position == before.position {
            Fate::Known
        } else {
            Fate::Sent
        };
        Told { path: segment.path.clone(), fate, events, damaged_bytes: segment.damaged_bytes(), before, after }
    }
}

/// Tells whoever finds the directory.
fn mark(world: &World, dir: &Path, outcome: &Outcome) -> std::io::Result<()> {
    let adopted = Adopted {
        at: format!("{:.0}", world.clock.now()),
        by: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        segments: outcome.segments.len() as u64,
        events: outcome.sum(|told| told.events),
        damaged_bytes: outcome.sum(|told| told.damaged_bytes),
        forked_segments: outcome.sum(|told| u64::from(told.fate == Fate::Forked)),
    };
    adopted::write(world.disk.as_ref(), dir, &adopted)
}

/// The lanes at work on what was found.
struct Sending<'a> {
    config: &'a Config,
    shared: Arc<Shared>,
    feeds: Vec<Arc<SegmentFeed>>,
}

impl<'a> Sending<'a> {
    fn new(config: &'a Config, world: &World, node: &str, journal: Arc<JournalState>, lanes: usize) -> Self {
        let shared = Arc::new(Shared {
            accounting: Arc::<Accounting>::default(),
            metrics: Metrics::new().flush.clone(),
            clock: Arc::clone(&world.clock),
            entropy: Arc::clone(&world.entropy),
            disk: Arc::clone(&world.disk),
            journal,
            node: node.to_owned(),
            // What is in a directory was promised by it, whatever is promised now.
            durability: Durability::Journal,
            interval: Duration::ZERO,
            bytes_max: config.flush.bytes_max,
            timeout: Shared::timeout(&config.database),
            retain: None,
            release_early: false,
            outage: Outage::default(),
            prepared: CancellationToken::new(),
            closing: CancellationToken::new(),
        });
        Self { config, shared, feeds: (0..lanes).map(|_| Arc::default()).collect() }
    }

    async fn run(
        &self,
        database: &Database,
        opened: &mut Opened,
        patience: Duration,
        tell: &mut impl FnMut(&Progress<'_>),
    ) -> Result<(), AdoptError> {
        let segments: Vec<Arc<Segment>> = opened.segments.iter().map(|found| Arc::clone(&found.segment)).collect();
        let ids: Vec<Uuid> = segments.iter().map(|segment| segment.id).collect();
        opened.hand_out(&self.feeds, &self.shared.journal, &self.shared.accounting);
        let mut promises = Promises::new(self.shared.node.clone(), ids.clone());
        promises.settle_released(database).await?;
        promises.report(database, &self.shared.accounting).await?;
        self.shared.prepared.cancel();

        let partitions = Arc::<Partitions>::default();
        let lanes_database = Database::new(&self.config.database, self.feeds.len())?;
        let lanes = self.feeds.iter().map(|feed| {
            let store = Postgres::new(
                lanes_database.clone(),
                Arc::clone(&partitions),
                Durability::Journal,
                Arc::clone(&self.shared.clock),
            );
            Lane::new(Arc::clone(&self.shared), store, Arc::clone(feed)).run()
        });
        tokio::select! {
            _ = join_all(lanes) => {}
            stalled = self.watch(database, &segments, &mut promises, patience, tell) => return Err(stalled),
        }
        lanes_database.close();
        for segment in ids {
            self.shared.accounting.released(segment);
        }
        Ok(promises.report(database, &self.shared.accounting).await?)
    }

    /// Reports as a collector does, and ends the lanes when they have nothing left; returns only if they get nowhere.
    async fn watch(
        &self,
        database: &Database,
        segments: &[Arc<Segment>],
        promises: &mut Promises,
        patience: Duration,
        tell: &mut impl FnMut(&Progress<'_>),
    ) -> AdoptError {
        let bytes: u64 = segments.iter().map(|segment| segment.progress.synced_to()).sum();
        let (mut moved_at, mut last) = (Instant::now(), None);
        loop {
            if self.feeds.iter().all(|feed| feed.front().is_none()) {
                self.shared.closing.cancel();
            }
            let waiting_bytes: u64 = segments.iter().map(|segment| segment.backlog_bytes()).sum();
            let waiting_segments: usize = self.feeds.iter().map(|feed| feed.segments().len()).sum();
            if last != Some((waiting_bytes, waiting_segments)) {
                (moved_at, last) = (Instant::now(), Some((waiting_bytes, waiting_segments)));
            }
            if moved_at.elapsed() > patience {
                return AdoptError::Stalled { seconds: patience.as_secs(), waiting_bytes };
            }
            tell(&Progress::Sending { sent_bytes: bytes.saturating_sub(waiting_bytes), bytes });
            sleep(TICK).await;
            if let Err(error) = promises.report(database, &self.shared.accounting).await {
                tracing::warn!(%error, "the report did not reach the database: it is repeated");
            }
        }
    }
}
