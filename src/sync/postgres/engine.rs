//! One source, from the publisher to its tables here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Transaction;
use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::align::align;
use super::apply::{Pending, Shape, Updated};
use super::barrier::settle;
use super::follow::{Source, follow};
use super::known::{self, Known, State};
use super::lsn::Lsn;
use super::pgoutput::{Message, Relation, parse};
use super::publisher::{Publisher, RemoteTable, Slot};
use super::stream::{Event, Stream};
use super::{LOCK_TIMEOUT_MS, ReplicationError, VALUES, copy, publish};
use crate::database::Database;
use crate::metrics::{Metrics, Replication};

/// After an error: doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The publisher is told how far we are, and forgets what is before.
const CONFIRM: Duration = Duration::from_secs(1);
/// A transaction that is read waits for more of itself, and the publisher sends it as fast as it can.
const IDLE_TIMEOUT_MS: u32 = 600_000;
/// Transactions that wait become one here, but not for longer: nobody sees them until it is over.
const BATCH_MAX: Duration = Duration::from_secs(1);
/// The catalog may be a moment behind the stream, where commits wait for standbys.
const CATALOG_TRIES: u32 = 20;
const CATALOG_WAIT: Duration = Duration::from_millis(250);
/// While a table waits to be copied, the publisher is asked for its transactions.
const SETTLE: Duration = Duration::from_millis(250);

/// See the module.
pub struct Engine {
    pub source: Source,
    pub local: Database,
    pub publisher: Publisher,
    pub metrics: Arc<Metrics>,
}

/// What the stream says of tables.
#[derive(Default)]
struct Relations {
    /// With the number of each column, where that can be told.
    seen: HashMap<u32, Option<Vec<i16>>>,
    shapes: HashMap<u32, Option<Shape>>,
}

impl Relations {
    /// What is known has changed.
    fn forget_shapes(&mut self) {
        self.shapes.clear();
    }

    fn shape(&mut self, known: &Known, schema: &str, relid: u32) -> Option<&Shape> {
        let seen = &self.seen;
        let make = || {
            let attnums = seen.get(&relid)?.as_ref()?;
            Shape::new(known.tables.get(&relid)?, schema, attnums)
        };
        self.shapes.entry(relid).or_insert_with(make).as_ref()
    }
}

impl Engine {
    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut wait = RETRY_FIRST;
        let mut told = String::new();
        while !stop.is_cancelled() {
            let (began, mut has_applied) = (Instant::now(), false);
            match self.session(&stop, &mut has_applied).await {
                Ok(()) => break,
                Err(ReplicationError::NotStarted(name)) => {
                    tracing::debug!(name, "a source is not started");
                    wait = RETRY_MAX;
                }
                Err(error) => {
                    // It went well for a while.
                    if has_applied || began.elapsed() > wait {
                        wait = RETRY_FIRST;
                    }
                    self.tell(&error, &mut told).await;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => break,
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
        self.publisher.close();
        self.local.close();
    }

    async fn tell(&self, error: &ReplicationError, told: &mut String) {
        // Details have values of rows in them.
        let text = error.to_string();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("DETAIL:")).collect();
        let (name, text) = (&self.source.name, lines.join(" "));
        self.metrics.replication_failed(name);
        if *told != text {
            tracing::warn!(source = name, error = text, "replication stops, and is tried again");
            told.clone_from(&text);
        }
        if let Ok(client) = self.local.client().await {
            // It is in the log, at least.
            let _ = known::note_error(&**client, name, &text).await;
        }
    }

    /// Reads what is known, and works until `stop` or an error.
    async fn session(&self, stop: &CancellationToken, has_applied: &mut bool) -> Result<(), ReplicationError> {
        let name = &self.source.name;
        let known = known::read(&**self.local.client().await?, name).await;
        // Whatever keeps us away: the application is not to suffer from it.
        let slot =
            known.as_ref().ok().and_then(Option::as_ref).map_or_else(|| self.source.slot(), |known| known.slot.clone());
        let guarded = publish::end_harm(&self.publisher, &self.source, &slot).await;
        let known = known?;
        let mut known = known.ok_or_else(|| ReplicationError::NotStarted(name.clone()))?;
        guarded?;
        if self.publisher.system_id().await? != known.system_id {
            return Err(ReplicationError::OtherCluster(name.clone()));
        }
        let slot = self.publisher.until_free(&known.slot).await?;
        let slot = slot.ok_or_else(|| ReplicationError::SlotGone(known.slot.clone(), name.clone()))?;
        self.check_slot(&known, &slot)?;
        if slot.confirmed > known.stored {
            return Err(ReplicationError::Gap {
                slot: known.slot.clone(),
                name: name.clone(),
                confirmed: slot.confirmed.to_string(),
                applied: known.stored.to_string(),
            });
        }
        let end = self.publisher.position().await?;
        if end < known.stored {
            let (end, applied) = (end.to_string(), known.stored.to_string());
            return Err(ReplicationError::SetBack { name: name.clone(), end, applied });
        }
        // At once, and then whatever alternates: copies that are put off, and the stream between them.
        let mut looks = interval(Duration::from_secs(self.source.settings.poll_s));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lag_s = 0.0;
        while !stop.is_cancelled() {
            if looks.tick().now_or_never().is_some() {
                self.look(&mut known).await?;
                self.report(&known, lag_s).await?;
            }
            if known.is_unsettled() {
                settle(&self.publisher, &mut known).await?;
            }
            match due(&known) {
                Some(relid) => {
                    let before = known.clone();
                    tokio::select! {
                        result = copy::copy(self, &mut known, relid) => result?,
                        error = self.guard(&before) => return Err(error),
                        () = stop.cancelled() => return Ok(()),
                    }
                }
                None => lag_s = self.stream(&mut known, &mut looks, stop, has_applied).await?,
            }
        }
        Ok(())
    }

    fn check_slot(&self, known: &Known, slot: &Slot) -> Result<(), ReplicationError> {
        if slot.state == "lost" {
            return Err(ReplicationError::SlotLost(known.slot.clone(), self.source.name.clone()));
        }
        Ok(())
    }

    /// Looks at the publisher's catalog and follows it; notes how the slot is.
    pub async fn look(&self, known: &mut Known) -> Result<(), ReplicationError> {
        let version = self.publisher.version().await?;
        let mut remotes = self.publisher.tables(&known.slot).await?;
        publish::publish(&self.publisher, &self.source, &known.slot, &mut remotes, version).await?;
        self.publisher.notice(known, &mut remotes).await?;
        let at = self.publisher.position().await?;
        let mut client = self.local.client().await?;
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        known::claim(&transaction, &self.source.name, known.stored).await?;
        // Somebody may have asked for a copy.
        let asked = known::read(&*transaction, &self.source.name).await?;
        let before = std::mem::replace(&mut known.tables, asked.map(|asked| asked.tables).unwrap_or_default());
        let followed = follow(&transaction, &self.source, known, &remotes, version, at).await;
        let result = match followed {
            Ok(_) => {
                if known.reached > known.stored {
                    known::advance(&transaction, &self.source.name, known.reached, None).await?;
                }
                transaction.commit().await.map_err(ReplicationError::from)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            known.tables = before;
            return Err(error);
        }
        known.stored = known.stored.max(known.reached);
        Ok(())
    }

    /// What is looked after while a copy runs, as long as it takes; returns only if that is in vain.
    async fn guard(&self, known: &Known) -> ReplicationError {
        let began = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_secs(self.source.settings.poll_s)).await;
            let result = match publish::end_harm(&self.publisher, &self.source, &known.slot).await {
                Ok(()) => self.report(known, began.elapsed().as_secs_f64()).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => {}
                Err(error @ (ReplicationError::SlotGone(..) | ReplicationError::SlotLost(..))) => return error,
                Err(error) => tracing::warn!(source = self.source.name, %error, "not looked after while a copy runs"),
            }
        }
    }

    async fn report(&self, known: &Known, lag_s: f64) -> Result<(), ReplicationError> {
        let name = &self.source.name;
        let slot = self.publisher.slot(&known.slot).await?;
        let slot = slot.ok_or_else(|| ReplicationError::SlotGone(known.slot.clone(), name.clone()))?;
        self.check_slot(known, &slot)?;
        if slot.bytes.cast_unsigned() > self.source.settings.slot_bytes_alarm {
            let bytes = slot.bytes;
            tracing::warn!(source = name, bytes, "the publisher keeps much WAL for us: `weir sync status` says why");
        }
        known::note_slot(&**self.local.client().await?, name, &slot, lag_s).await?;
        let count = |state| known.tables.values().filter(|table| table.state == state).count();
        let states = [State::Copy, State::Live, State::LeftOut, State::Held, State::Gone]
            .map(|state| (state.name(), count(state)));
        let is_slot_good = slot.state != "lost";
        self.metrics.replication_is(name, Replication { lag_s, slot_bytes: slot.bytes, is_slot_good, tables: &states });
        Ok(())
    }

    /// Applies what comes until a table is to be copied, or `stop`. Returns how old the newest of it was.
    async fn stream(
        &self,
        known: &mut Known,
        looks: &mut Interval,
        stop: &CancellationToken,
        has_applied: &mut bool,
    ) -> Result<f64, ReplicationError> {
        let mut stream = Stream::start(&self.publisher.url, &known.slot, &known.slot, known.stored).await?;
        let result = self.read(known, &mut stream, looks, stop, has_applied).await;
        stream.close().await;
        result
    }

    async fn read(
        &self,
        known: &mut Known,
        stream: &mut Stream,
        looks: &mut Interval,
        stop: &CancellationToken,
        has_applied: &mut bool,
    ) -> Result<f64, ReplicationError> {
        let mut confirms = interval(CONFIRM);
        confirms.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settles = interval(SETTLE);
        settles.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut relations = Relations::default();
        let mut lag_s = 0.0;
        let mut client = self.local.client().await?;
        while due(known).is_none() {
            tokio::select! {
                event = stream.next() => match event? {
                    Event::Alive { end, wants_reply } => {
                        known.reached = known.reached.max(end);
                        lag_s = 0.0;
                        if wants_reply {
                            stream.confirm(known.stored).await?;
                        }
                    }
                    Event::Data(data) => if let Message::Begin { xid, commit, .. } = parse(data)? {
                        known.barrier.note(xid);
                        lag_s = self.batch(known, commit, &mut relations, stream, &mut client).await?;
                        *has_applied = true;
                    }
                },
                _ = confirms.tick() => stream.confirm(known.stored).await?,
                _ = settles.tick(), if known.is_unsettled() => settle(&self.publisher, known).await?,
                _ = looks.tick() => {
                    let before = known.tables.clone();
                    self.look(known).await?;
                    if known.tables != before {
                        relations.forget_shapes();
                    }
                    self.report(known, lag_s).await?;
                }
                () = stop.cancelled() => break,
            }
        }
        Ok(lag_s)
    }

    /// Applies a transaction that has begun, and those that have arrived after it. Returns how old the newest of them is.
    async fn batch(
        &self,
        known: &mut Known,
        commit: Lsn,
        relations: &mut Relations,
        stream: &mut Stream,
        client: &mut deadpool_postgres::Object,
    ) -> Result<f64, ReplicationError> {
        let mut message = self.message(stream, known.stored).await?;
        if let Message::Commit { end, .. } = message {
            known.reached = known.reached.max(end);
            return Ok(0.0);
        }
        let began = Instant::now();
        let transaction = client.transaction().await?;
        begin(&transaction).await?;
        known::claim(&transaction, &self.source.name, known.stored).await?;
        let mut batch = Batch { engine: self, transaction, known, relations, pending: Pending::new(commit) };
        let (end, at_us) = loop {
            if let Message::Commit { end, at_us } = message {
                let is_over = began.elapsed() > BATCH_MAX;
                let next = if is_over { None } else { self.goes_on(stream, batch.known.stored).await? };
                let Some((xid, commit)) = next else { break (end, at_us) };
                batch.known.barrier.note(xid);
                batch.pending.commit = commit;
            } else {
                batch.take(message).await?;
            }
            message = self.message(stream, batch.known.stored).await?;
        };
        let Batch { transaction, known, mut pending, .. } = batch;
        pending.write(&transaction).await?;
        known::advance(&transaction, &self.source.name, end, Some(at_us)).await?;
        transaction.commit().await?;
        known.stored = end;
        known.reached = known.reached.max(end);
        let age_us = Timestamp::now().as_microsecond().saturating_sub(at_us);
        Ok(age_us.max(0) as f64 / 1e6)
    }

    /// The number of another transaction that has arrived already, and where it was committed.
    async fn goes_on(&self, stream: &mut Stream, stored: Lsn) -> Result<Option<(u32, Lsn)>, ReplicationError> {
        while let Some(event) = stream.buffered()? {
            match event {
                Event::Alive { wants_reply: true, .. } => stream.confirm(stored).await?,
                Event::Alive { .. } => {}
                Event::Data(data) => match parse(data)? {
                    Message::Begin { xid, commit, .. } => return Ok(Some((xid, commit))),
                    Message::Other => {}
                    _ => return Err(ReplicationError::Unexpected("a change outside of a transaction".to_owned())),
                },
            }
        }
        Ok(None)
    }

    async fn message(&self, stream: &mut Stream, stored: Lsn) -> Result<Message, ReplicationError> {
        loop {
            match stream.next().await? {
                Event::Alive { wants_reply: true, .. } => stream.confirm(stored).await?,
                Event::Alive { .. } => {}
                Event::Data(data) => return Ok(parse(data)?),
            }
        }
    }
}

/// Transactions of the publisher that become one here.
struct Batch<'a> {
    engine: &'a Engine,
    transaction: Transaction<'a>,
    known: &'a mut Known,
    relations: &'a mut Relations,
    pending: Pending,
}

impl Batch<'_> {
    async fn take(&mut self, message: Message) -> Result<(), ReplicationError> {
        let schema = &self.engine.source.schema;
        let transaction = &self.transaction;
        match message {
            Message::Relation(relation) => return self.relation(relation).await,
            Message::Insert { relid, new } => {
                if let Some(shape) = self.relations.shape(self.known, schema, relid) {
                    self.pending.insert(transaction, relid, shape, &new).await?;
                }
            }
            Message::Update { relid, old, new } => {
                if let Some(shape) = self.relations.shape(self.known, schema, relid) {
                    let updated = self.pending.update(transaction, relid, shape, old.as_ref(), &new).await?;
                    if updated == Updated::Unknown {
                        self.copy_anew(relid).await?;
                    }
                }
            }
            Message::Delete { relid, old } => {
                if let Some(shape) = self.relations.shape(self.known, schema, relid) {
                    self.pending.delete(transaction, relid, shape, &old).await?;
                }
            }
            Message::Truncate { relids } => {
                for relid in relids {
                    if let Some(shape) = self.relations.shape(self.known, schema, relid) {
                        self.pending.truncate(transaction, relid, shape).await?;
                    }
                }
            }
            // Another transaction of this batch begins.
            Message::Begin { .. } | Message::Commit { .. } | Message::Other => {}
        }
        if self.pending.is_full() {
            self.pending.write(&self.transaction).await?;
        }
        Ok(())
    }

    /// A row's key moved while its table was copied, and what is unchanged in it is not to be had.
    async fn copy_anew(&mut self, relid: u32) -> Result<(), ReplicationError> {
        let Some(table) = self.known.tables.get_mut(&relid) else { return Ok(()) };
        (table.state, table.wait) = (State::Copy, None);
        table.reason = Some("keys moved while it was copied".to_owned());
        known::write(&self.transaction, &self.engine.source.name, table).await?;
        self.relations.forget_shapes();
        Ok(())
    }

    /// The stream shows a table as it is at this place: the catalog says what became of it.
    async fn relation(&mut self, relation: Relation) -> Result<(), ReplicationError> {
        let (engine, relid) = (self.engine, relation.relid);
        self.pending.write(&self.transaction).await?;
        let version = engine.publisher.version().await?;
        let mut tries = 0;
        let (remotes, at) = loop {
            let mut remotes = engine.publisher.tables(&self.known.slot).await?;
            engine.publisher.notice(self.known, &mut remotes).await?;
            let at = engine.publisher.position().await?;
            tries += 1;
            let is_behind = remotes.iter().any(|remote| remote.relid == relid && lacks(remote, &relation));
            if !is_behind || tries >= CATALOG_TRIES {
                break (remotes, at);
            }
            tokio::time::sleep(CATALOG_WAIT).await;
        };
        let names: Vec<(i16, String)> = self.known.tables.get(&relid).map_or_else(Vec::new, |table| {
            table.columns.iter().map(|column| (column.attnum, column.name.clone())).collect()
        });
        follow(&self.transaction, &engine.source, self.known, &remotes, version, at).await?;
        self.relations.forget_shapes();
        let remote = remotes.iter().find(|remote| remote.relid == relid);
        let attnums = remote.and_then(|remote| align(&relation.columns, &remote.columns, &names));
        if let (None, Some(table)) = (&attnums, self.known.tables.get_mut(&relid))
            && table.state == State::Live
        {
            (table.state, table.wait) = (State::Copy, Some(at));
            table.reason = Some("its columns changed in a way that the stream does not tell".to_owned());
            known::write(&self.transaction, &engine.source.name, table).await?;
        }
        self.relations.seen.insert(relid, attnums);
        Ok(())
    }
}

/// Whether the catalog is older than the stream.
fn lacks(remote: &RemoteTable, relation: &Relation) -> bool {
    remote.columns.iter().filter(|column| !column.is_generated).count() < relation.columns.len()
}

/// Whether a table can be copied now.
pub fn is_due(known: &Known, relid: u32) -> bool {
    let is_read = |wait: Option<Lsn>| wait.is_none_or(|wait| wait <= known.reached);
    let is_to_copy = known.tables.get(&relid).is_some_and(|table| table.state == State::Copy && is_read(table.wait));
    is_to_copy && known.barrier.is_passed(relid, known.reached)
}

/// A table that can be.
fn due(known: &Known) -> Option<u32> {
    known.tables.keys().copied().find(|relid| is_due(known, *relid))
}

/// Only a wait for a lock is limited: changing a large table takes as long as it takes, and would never succeed otherwise.
pub async fn begin(transaction: &Transaction<'_>) -> Result<(), ReplicationError> {
    let settings = format!(
        "set transaction isolation level read committed; set local search_path = pg_catalog;
         set local lock_timeout = {LOCK_TIMEOUT_MS}; set local statement_timeout = 0;
         set local idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}; {VALUES}"
    );
    Ok(transaction.batch_execute(&settings).await?)
}
