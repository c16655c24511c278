//! `weir journal`: what lies in the journal's files.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;
use uuid::Uuid;

use crate::adopt::standing::{self, Standing};
use crate::config;
use crate::database::{Database, DatabaseError};
use crate::disk::RealDisk;
use crate::journal::JournalState;
use crate::journal::adopted::{self, Adopted};
use crate::journal::inspect::{Inspected, inspect};

/// Prints a line for every segment, and their sum; also which are applied, where the database is known and can be asked.
pub async fn show(dir: &Path, database: Option<&config::Database>) -> anyhow::Result<()> {
    let mut segments = Vec::new();
    inspect(&RealDisk, dir, |segment| segments.push(segment))?;
    let standings = match database {
        None => None,
        Some(database) => ask(database, &segments)
            .await
            .inspect_err(|error| eprintln!("which segments are applied is not known: {error}"))
            .ok(),
    };
    let (mut events, mut bytes, mut waiting) = (0, 0, 0);
    for segment in &segments {
        events += promised(segment);
        bytes += segment.file_bytes;
        match &standings {
            None => println!("{}", line(segment, "")),
            Some(standings) => {
                let standing = stands(segment, standings);
                waiting += standing.waiting();
                println!("{}", line(segment, &standing.to_string()));
            }
        }
    }
    let sum = format!("{} segments, {events} events accepted, {bytes} bytes", segments.len());
    if standings.is_some() {
        println!("{sum}; {waiting} events are pending");
    } else {
        println!("{sum}");
    }
    if let Some(Adopted { at, by, events, .. }) = adopted::read(&RealDisk, dir)? {
        println!("adopted at {at} by {by}: {events} events in these segments are in the database");
    }
    Ok(())
}

fn promised(segment: &Inspected) -> u64 {
    segment.accepted.values().sum()
}

/// What the ledger says of those segments that have a name.
async fn ask(settings: &config::Database, segments: &[Inspected]) -> Result<HashMap<Uuid, Standing>, DatabaseError> {
    let database = Database::reading(settings, 1)?;
    let ids: Vec<Uuid> = segments.iter().filter_map(|segment| Some(segment.header.as_ref().ok()?.segment_id)).collect();
    if standing::has_schema(&database).await? { standing::standing(&database, &ids).await } else { Ok(HashMap::new()) }
}

/// How a segment stands to the ledger.
enum Stands {
    /// Nothing can be told, or nothing is in it.
    Unsaid,
    Applied,
    Pending {
        waiting: u64,
        of: u64,
    },
    Forked,
}

impl Stands {
    fn waiting(&self) -> u64 {
        if let Self::Pending { waiting, .. } = self { *waiting } else { 0 }
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Applied => formatter.write_str(", applied"),
            Self::Pending { waiting, of } => write!(formatter, ", pending: {waiting} of {of} events"),
            Self::Forked => formatter.write_str(", set aside: the database knows another file of this name"),
        }
    }
}

fn stands(segment: &Inspected, known: &HashMap<Uuid, Standing>) -> Stands {
    let of = promised(segment);
    let Ok(header) = &segment.header else { return Stands::Unsaid };
    let Some(standing) = known.get(&header.segment_id) else {
        return if of == 0 { Stands::Unsaid } else { Stands::Pending { waiting: of, of } };
    };
    let file = standing::by_header(&RealDisk, segment.path.clone());
    if file.is_some_and(|file| !standing.is_of(&file, &JournalState::new(u64::MAX, 0))) {
        return Stands::Forked;
    }
    match of.saturating_sub(standing.counts.accepted) {
        0 => Stands::Applied,
        waiting => Stands::Pending { waiting, of },
    }
}

/// Reads every frame and row; fails if anything that was promised cannot be read.
pub fn verify(dir: &Path) -> anyhow::Result<()> {
    let (mut segments, mut frames, mut unsound) = (0_u64, 0_u64, 0_u64);
    inspect(&RealDisk, dir, |segment| {
        segments += 1;
        frames += segment.frames;
        if segment.is_sound() {
            return;
        }
        unsound += 1;
        println!("{}", line(&segment, ""));
        for range in segment.scan.iter().flat_map(|scan| &scan.damaged) {
            println!("    bytes {} to {} cannot be read", range.start, range.end);
        }
        if segment.malformed_frames > 0 {
            println!("    {} frames hold other rows than they say", segment.malformed_frames);
        }
    })?;
    if unsound > 0 {
        bail!("{unsound} of {segments} segments hold promised events that cannot be read; keep the files");
    }
    println!("{segments} segments, {frames} frames: all sound");
    Ok(())
}

fn line(segment: &Inspected, standing: &str) -> String {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
    let written = segment.written.map_or_else(String::new, |(first, last)| format!("  {first:.0} to {last:.0}"));
    let sources: Vec<String> = segment.accepted.iter().map(|(source, events)| format!("{source} {events}")).collect();
    format!(
        "{name}  {}{standing}  {} bytes  {} frames  {} rows  [{}]{written}",
        segment.state(),
        segment.file_bytes,
        segment.frames,
        segment.tuples,
        sources.join(", ")
    )
}
