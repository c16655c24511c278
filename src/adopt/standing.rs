//! How far the database is with the segments of a journal, by its ledger: read, and nothing changed.

use std::collections::HashMap;
use std::path::PathBuf;

use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::accounting::Settled;
use crate::database::{Database, DatabaseError};
use crate::disk::{Disk, DiskFile};
use crate::flush::ledger::LedgerRow;
use crate::flush::store::{Applied, Counts, Position, SourceCounts};
use crate::journal::frame::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::journal::{JournalState, Segment};

const SCHEMA: &str = include_str!("sql/schema.sql");
const STANDING: &str = include_str!("sql/standing.sql");

/// What the ledger says of one segment; all zero where it says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub position: Position,
    /// All sources together.
    pub counts: Counts,
}

impl Standing {
    /// Whether the ledger speaks of this very file. What has rotted in it since shows in `journal`.
    pub fn is_of(&self, segment: &Segment, journal: &JournalState) -> bool {
        let applied = Applied { position: self.position, sources: SourceCounts::new() };
        LedgerRow::of(segment, applied, journal).is_ok()
    }
}

/// A segment of which only the header was read: that is all that a comparison with the ledger begins with.
pub fn by_header(disk: &dyn Disk, path: PathBuf) -> Option<Segment> {
    // Released meanwhile, or damaged: `weir journal verify` reads all.
    let file: Box<dyn DiskFile> = disk.open(&path).ok()?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let header = SegmentHeader::decode(&bytes).ok()?;
    let end = file.size().ok()?;
    Some(Segment::new(header.segment_id, path, header.row_version, file).recovered(end, Vec::new()))
}

/// Whether the database has weir's tables.
pub async fn has_schema(database: &Database) -> Result<bool, DatabaseError> {
    Ok(database.client().await?.query_typed_one(SCHEMA, &[]).await?.try_get(0)?)
}

/// Those of `segments` that the ledger knows.
pub async fn standing(database: &Database, segments: &[Uuid]) -> Result<HashMap<Uuid, Standing>, DatabaseError> {
    let rows = database.client().await?.query_typed(STANDING, &[(&segments, Type::UUID_ARRAY)]).await?;
    let mut known = HashMap::new();
    for row in rows {
        let count = |name: &str| row.try_get::<_, i64>(name).map(i64::cast_unsigned);
        let position = Position { offset: count("applied_to")?, chain: row.try_get::<_, i64>("applied_crc")? as u32 };
        let settled =
            Settled { stored: count("stored")?, duplicate: count("duplicate")?, quarantined: count("quarantined")? };
        let counts = Counts { accepted: count("accepted")?, settled };
        known.insert(row.try_get("segment_id")?, Standing { position, counts });
    }
    Ok(known)
}
