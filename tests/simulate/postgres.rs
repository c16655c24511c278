//! A model of PostgreSQL: what the ledger's protocol stands on, and everything that a real one may do to it.
//!
//! Transactions buffer their writes and hold row locks; `READ COMMITTED` re-checks after waiting for one. A commit may
//! lose its answer, or hang in a backend that commits (or not) long after its client has gone. A failover goes back to an
//! earlier state. Only events that their clients named are under a unique index, so that a second application of a frame
//! shows as a doubled row.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;
use weir::accounting::Settled;
use weir::database::DatabaseError;
use weir::flush::FlushError;
use weir::flush::batch::promised;
use weir::flush::hours::Hours;
use weir::flush::order::by_event_id;
use weir::flush::store::{Applied, Position, Session, SourceCounts, Store, Transaction};
use weir::journal::segment::Frames;
use weir::row;

use crate::random::Random;

/// As weir sets it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// No backend of a client that has gone lives longer.
const ZOMBIE_MAX_MS: u64 = 60_000;

/// What is committed.
#[derive(Clone, Default)]
pub struct Tables {
    pub ledger: BTreeMap<Uuid, Applied>,
    /// How often each event is stored, by id.
    pub rows: BTreeMap<Uuid, u32>,
    /// Hours since 1970 that were named to rollups, each as often as by a transaction.
    pub touched: BTreeMap<i64, u32>,
    pub quarantine: BTreeMap<Uuid, u32>,
}

/// How the model may misbehave, in thousandths of the occasions.
#[derive(Clone, Copy, Default)]
pub struct Mischief {
    pub errors: u64,
    pub lost_answers: u64,
    pub zombies: u64,
    pub stalls: u64,
}

struct Pending {
    number: u64,
    moves: BTreeMap<Uuid, Position>,
    settled: BTreeMap<Uuid, SourceCounts>,
    rows: Vec<Uuid>,
    touched: Hours,
    quarantine: Vec<Uuid>,
}

struct Zombie {
    pending: Pending,
    ends: Instant,
    commits: bool,
}

struct Server {
    tables: Tables,
    /// Committed states with their times, oldest first, for failovers.
    history: Vec<(Instant, Tables)>,
    zombies: Vec<Zombie>,
    /// Who holds which ledger row, and whose rows wait for a commit.
    locks: BTreeMap<Uuid, u64>,
    in_flight: BTreeMap<Uuid, u64>,
    next_transaction: u64,
    /// Moves when all connections break.
    epoch: u64,
    /// The newest transaction that broke while connections stayed.
    broken_transaction: u64,
    is_up: bool,
    is_schema_broken: bool,
    mischief: Mischief,
    /// Events that the tables refuse.
    poison: BTreeSet<Uuid>,
    /// Events under the unique index.
    named: BTreeSet<Uuid>,
    random: Random,
}

/// See the module. Clones share one server.
#[derive(Clone)]
pub struct Model(Rc<RefCell<Server>>);

fn transient(why: &str) -> FlushError {
    FlushError::Transient(DatabaseError::Migration(why.to_owned()))
}

fn data(why: &str) -> FlushError {
    FlushError::Data(DatabaseError::Migration(why.to_owned()))
}

impl Model {
    pub fn new(random: Random) -> Self {
        Self(Rc::new(RefCell::new(Server {
            tables: Tables::default(),
            history: vec![(Instant::now(), Tables::default())],
            zombies: Vec::new(),
            locks: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_transaction: 0,
            epoch: 0,
            broken_transaction: 0,
            is_up: true,
            is_schema_broken: false,
            mischief: Mischief::default(),
            poison: BTreeSet::new(),
            named: BTreeSet::new(),
            random,
        })))
    }

    pub fn tables(&self) -> Tables {
        let mut server = self.0.borrow_mut();
        server.bury();
        server.tables.clone()
    }

    pub fn set_mischief(&self, mischief: Mischief) {
        self.0.borrow_mut().mischief = mischief;
    }

    pub fn set_up(&self, is_up: bool) {
        let mut server = self.0.borrow_mut();
        server.is_up = is_up;
        server.epoch += 1;
    }

    pub fn set_schema_broken(&self, is_broken: bool) {
        self.0.borrow_mut().is_schema_broken = is_broken;
    }

    /// Notes what is special about an event before it is sent.
    pub fn know(&self, id: Uuid, is_named: bool, is_poison: bool) {
        let mut server = self.0.borrow_mut();
        if is_named {
            server.named.insert(id);
        }
        if is_poison {
            server.poison.insert(id);
        }
    }

    /// `kill -9` and a restart: every backend dies with what it had begun.
    pub fn crash(&self) {
        let mut server = self.0.borrow_mut();
        server.epoch += 1;
        server.end_backends();
    }

    /// A standby takes over that lacks what was committed within up to `lag`. Behind a pooler only who is in a transaction
    /// notices.
    pub fn fail_over(&self, lag: Duration, is_pooled: bool) {
        let mut server = self.0.borrow_mut();
        if is_pooled {
            server.broken_transaction = server.next_transaction;
        } else {
            server.epoch += 1;
        }
        server.end_backends();
        let oldest = Instant::now().checked_sub(lag).unwrap_or(Instant::now());
        let possible: Vec<usize> = (0..server.history.len()).filter(|at| server.history[*at].0 >= oldest).collect();
        // The state just before the window is what a standby of that lag has for certain.
        let first = possible.first().copied().unwrap_or(server.history.len()).saturating_sub(1);
        let choice = first + server.random.below((server.history.len() - first) as u64) as usize;
        server.tables = server.history[choice].1.clone();
        server.history.truncate(choice + 1);
    }
}

impl Server {
    fn end_backends(&mut self) {
        self.bury();
        for zombie in std::mem::take(&mut self.zombies) {
            self.roll_back(zombie.pending.number);
        }
    }

    /// Lets zombies whose time has come commit or roll back.
    fn bury(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.zombies.iter().position(|zombie| zombie.ends <= now) {
            let zombie = self.zombies.remove(at);
            if zombie.commits {
                self.commit(zombie.pending);
            } else {
                self.roll_back(zombie.pending.number);
            }
        }
    }

    fn commit(&mut self, pending: Pending) {
        for (segment, position) in pending.moves {
            self.tables.ledger.entry(segment).or_default().position = position;
        }
        for (segment, sources) in pending.settled {
            let row = self.tables.ledger.entry(segment).or_default();
            for (source, more) in sources {
                let sum = row.sources.entry(source).or_default();
                sum.accepted += more.accepted;
                sum.settled.stored += more.settled.stored;
                sum.settled.duplicate += more.settled.duplicate;
                sum.settled.quarantined += more.settled.quarantined;
            }
        }
        for hour in pending.touched.iter() {
            *self.tables.touched.entry(hour).or_default() += 1;
        }
        for id in pending.rows {
            *self.tables.rows.entry(id).or_default() += 1;
        }
        for id in pending.quarantine {
            *self.tables.quarantine.entry(id).or_default() += 1;
        }
        self.roll_back(pending.number);
        self.history.push((Instant::now(), self.tables.clone()));
    }

    fn roll_back(&mut self, transaction: u64) {
        self.locks.retain(|_, holder| *holder != transaction);
        self.in_flight.retain(|_, holder| *holder != transaction);
    }
}

impl Store for Model {
    type Session = Connection;

    async fn connect(&self) -> Result<Connection, FlushError> {
        sleep(Duration::from_millis(2)).await;
        let server = self.0.borrow();
        if !server.is_up {
            return Err(transient("connection refused"));
        }
        Ok(Connection { server: self.clone(), epoch: server.epoch })
    }
}

/// One connection.
pub struct Connection {
    server: Model,
    epoch: u64,
}

impl Connection {
    /// A moment passes; then the connection may be found broken.
    async fn call(&self) -> Result<(), FlushError> {
        sleep(Duration::from_millis(1)).await;
        self.check()
    }

    fn check(&self) -> Result<(), FlushError> {
        let mut server = self.server.0.borrow_mut();
        server.bury();
        if !server.is_up || server.epoch != self.epoch {
            return Err(transient("the connection is closed"));
        }
        if server.random.permille(server.mischief.errors) {
            return Err(transient("the server is not in the mood"));
        }
        if server.is_schema_broken {
            return Err(FlushError::Schema(DatabaseError::Migration("no such table".to_owned())));
        }
        Ok(())
    }

    async fn lock(&self, segment: Uuid, transaction: u64) -> Result<(), FlushError> {
        let patience = Instant::now() + LOCK_TIMEOUT;
        loop {
            self.check()?;
            {
                let mut server = self.server.0.borrow_mut();
                if server.locks.get(&segment).is_none_or(|holder| *holder == transaction) {
                    server.locks.insert(segment, transaction);
                    return Ok(());
                }
            }
            if Instant::now() > patience {
                return Err(transient("canceling statement due to lock timeout"));
            }
            sleep(LOCK_POLL).await;
        }
    }

    fn number(&self) -> u64 {
        let mut server = self.server.0.borrow_mut();
        server.next_transaction += 1;
        server.next_transaction
    }
}

impl Session for Connection {
    type Transaction<'a> = Flush<'a>;

    fn is_open(&self) -> bool {
        self.server.0.borrow().epoch == self.epoch
    }

    async fn open(&mut self, segment: Uuid, _node: &str) -> Result<Applied, FlushError> {
        self.call().await?;
        let mut server = self.server.0.borrow_mut();
        Ok(server.tables.ledger.entry(segment).or_default().clone())
    }

    async fn close(&mut self, segment: Uuid, _node: &str) -> Result<Applied, FlushError> {
        self.call().await?;
        let number = self.number();
        self.lock(segment, number).await?;
        let mut server = self.server.0.borrow_mut();
        server.roll_back(number);
        let row = server.tables.ledger.entry(segment).or_default();
        row.position.chain = u32::MAX;
        Ok(row.clone())
    }

    async fn prepare(&mut self, _frames: &Frames) -> Result<(), FlushError> {
        self.call().await
    }

    async fn begin(&mut self) -> Result<Flush<'_>, FlushError> {
        self.call().await?;
        let pending = Pending {
            number: self.number(),
            moves: BTreeMap::new(),
            settled: BTreeMap::new(),
            rows: Vec::new(),
            touched: Hours::default(),
            quarantine: Vec::new(),
        };
        Ok(Flush { connection: self, pending: Some(pending), is_aborted: false })
    }
}

/// A transaction.
pub struct Flush<'a> {
    connection: &'a Connection,
    /// `None` once it has ended.
    pending: Option<Pending>,
    is_aborted: bool,
}

impl Drop for Flush<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            self.connection.server.0.borrow_mut().roll_back(pending.number);
        }
    }
}

fn ids(frames: &Frames) -> Vec<(String, Uuid)> {
    let mut ids = Vec::new();
    for frame in frames.iter() {
        for tuple in row::tuples(frame.tuples).map(|tuple| tuple.expect("a tuple")) {
            let source = row::source(tuple).expect("a tuple").to_owned();
            ids.push((source, row::event_id(tuple).expect("a tuple")));
        }
    }
    ids
}

/// The hour of an event, since 1970: its id begins with its milliseconds.
pub fn hour_of(id: Uuid) -> i64 {
    (id.as_u128() >> 80) as i64 / 3_600_000
}

impl Flush<'_> {
    fn pending(&mut self) -> &mut Pending {
        self.pending.as_mut().expect("under way")
    }

    async fn call(&self) -> Result<(), FlushError> {
        assert!(!self.is_aborted, "commands are sent in an aborted transaction");
        self.connection.call().await?;
        let broken = self.connection.server.0.borrow().broken_transaction;
        if self.pending.as_ref().is_some_and(|pending| pending.number <= broken) {
            return Err(transient("the pooler lost the server"));
        }
        Ok(())
    }

    /// Whether the unique index has the event: waits for a transaction that has just inserted it.
    async fn is_known(&mut self, id: Uuid) -> Result<bool, FlushError> {
        let own = self.pending().number;
        let patience = Instant::now() + LOCK_TIMEOUT;
        loop {
            self.connection.check()?;
            {
                let mut server = self.connection.server.0.borrow_mut();
                if !server.named.contains(&id) {
                    return Ok(false);
                }
                match server.in_flight.get(&id) {
                    Some(holder) if *holder == own => return Ok(true),
                    Some(_) => {}
                    None if server.tables.rows.contains_key(&id) => return Ok(true),
                    None => {
                        server.in_flight.insert(id, own);
                        return Ok(false);
                    }
                }
            }
            if Instant::now() > patience {
                return Err(transient("canceling statement due to lock timeout"));
            }
            sleep(LOCK_POLL).await;
        }
    }

    fn is_poison(&self, id: Uuid) -> bool {
        self.connection.server.0.borrow().poison.contains(&id)
    }
}

impl Transaction for Flush<'_> {
    async fn advance(&mut self, segment: Uuid, from: Position, to: Position) -> Result<bool, FlushError> {
        self.call().await?;
        assert!(to.offset > from.offset, "P4: the ledger only rises");
        let number = self.pending().number;
        self.connection.lock(segment, number).await?;
        let now = {
            let server = self.connection.server.0.borrow();
            server.tables.ledger.get(&segment).map(|row| row.position)
        };
        if now != Some(from) {
            return Ok(false);
        }
        self.pending().moves.insert(segment, to);
        Ok(true)
    }

    async fn copy(&mut self, frames: &Frames) -> Result<(u64, Hours), FlushError> {
        self.call().await?;
        assert!(!self.pending().moves.is_empty(), "P5: rows are copied before the fence is taken");
        let ids = ids(frames);
        for (_, id) in &ids {
            if self.is_poison(*id) || self.is_known(*id).await? {
                self.is_aborted = true;
                return Err(data("a row is refused"));
            }
            self.pending().rows.push(*id);
        }
        let (_, hours, _) = by_event_id(frames, false).expect("tuples");
        Ok((ids.len() as u64, hours))
    }

    async fn sort_out(&mut self, frames: &Frames, _segment: Uuid) -> Result<(SourceCounts, Hours), FlushError> {
        self.call().await?;
        assert!(!self.pending().moves.is_empty(), "P5: rows are sorted out before the fence is taken");
        let mut counts = promised(frames);
        for counts in counts.values_mut() {
            counts.settled.stored = 0;
        }
        for (source, id) in ids(frames) {
            let outcome = &mut counts.entry(source).or_default().settled;
            if self.is_poison(id) {
                outcome.quarantined += 1;
                self.pending().quarantine.push(id);
            } else if self.is_known(id).await? {
                outcome.duplicate += 1;
            } else {
                outcome.stored += 1;
                self.pending().rows.push(id);
            }
        }
        let is_any_stored = counts.values().any(|counts| counts.settled.stored > 0);
        let hours = if is_any_stored { Hours::of(frames).expect("tuples") } else { Hours::default() };
        Ok((counts, hours))
    }

    async fn settle(&mut self, segment: Uuid, counts: &SourceCounts, hours: &Hours) -> Result<(), FlushError> {
        self.call().await?;
        for counts in counts.values() {
            let Settled { stored, duplicate, quarantined } = counts.settled;
            assert_eq!(counts.accepted, stored + duplicate + quarantined, "P10: what is accepted is settled");
        }
        let named: BTreeSet<i64> = hours.iter().collect();
        let are_named = self.pending().rows.iter().all(|id| named.contains(&hour_of(*id)));
        assert!(are_named, "P12: a transaction names the hours of what it stores");
        self.pending().settled.insert(segment, counts.clone());
        self.pending().touched = hours.clone();
        Ok(())
    }

    async fn commit(mut self) -> Result<(), FlushError> {
        self.call().await?;
        let pending = self.pending.take().expect("under way");
        assert!(!pending.moves.is_empty(), "P3: a commit moves the ledger");
        assert_eq!(pending.moves.len(), pending.settled.len(), "P3: a commit books what it stored");
        let stall = {
            let mut server = self.connection.server.0.borrow_mut();
            let Mischief { lost_answers, zombies, stalls, .. } = server.mischief;
            if server.random.permille(lost_answers) {
                server.commit(pending);
                return Err(transient("the connection broke after COMMIT was sent"));
            }
            if server.random.permille(zombies) {
                let ends = Instant::now() + Duration::from_millis(server.random.below(ZOMBIE_MAX_MS));
                let commits = server.random.coin();
                server.zombies.push(Zombie { pending, ends, commits });
                return Err(transient("the connection broke while COMMIT was under way"));
            }
            if server.random.permille(stalls) {
                let ends = Instant::now() + Duration::from_millis(server.random.below(ZOMBIE_MAX_MS));
                let commits = server.random.coin();
                server.zombies.push(Zombie { pending, ends, commits });
                true
            } else {
                server.commit(pending);
                false
            }
        };
        if stall {
            // Longer than any client waits.
            sleep(Duration::from_secs(24 * 60 * 60)).await;
        }
        Ok(())
    }

    async fn rollback(mut self) {
        sleep(Duration::from_millis(1)).await;
        if let Some(pending) = self.pending.take() {
            self.connection.server.0.borrow_mut().roll_back(pending.number);
        }
    }
}
