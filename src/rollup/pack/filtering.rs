//! Which visits the filters leave: from their columns (visits.rs), chunk by chunk.

use super::chunks::Chunks;
use super::codec::open_by;
use super::opened::Opened;
use super::visits::{CHUNK_VISITS, Column, has_many};

/// Columns of one part; of what is to be read the chunks have to be here.
pub type Columns = [(Column, Chunks)];

fn of(columns: &Columns, wanted: Column) -> Option<&Chunks> {
    columns.iter().find(|(column, _)| *column == wanted).map(|(_, chunks)| chunks)
}

/// Opens chunks.
pub struct Reader<'c> {
    columns: &'c Columns,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl<'c> Reader<'c> {
    pub fn new(columns: &'c Columns) -> Option<Self> {
        Some(Self { columns, decompressor: zstd::bulk::Decompressor::new().ok()? })
    }

    fn open(&mut self, column: Column, chunk: usize, opened: &mut Opened) -> Option<()> {
        if opened.bytes(column).is_none() {
            let sealed = of(self.columns, column)?.get(chunk)?;
            opened.add(column, open_by(sealed, &mut self.decompressor)?);
        }
        Some(())
    }

    /// Which visits of the chunk have all of the values of `filters`, of which there is one at least; of those that are left `before`, or all.
    fn left(
        &mut self,
        chunk: usize,
        before: Option<&Left>,
        filters: &[(usize, u32)],
        opened: &mut Opened,
    ) -> Option<Left> {
        let mut left: Option<Left> = None;
        for (list, value) in filters {
            self.open(Column::List(*list), chunk, opened)?;
            let values = opened.list(*list)?;
            let count = values.visits();
            let visits = match left.as_ref().or(before) {
                Some(before) if before.of != count => return None,
                Some(before) => values.among(&before.visits, *value),
                None if count > CHUNK_VISITS => return None,
                None => values.having(*value),
            };
            let is_empty = visits.is_empty();
            left = Some(Left { of: count, visits });
            if is_empty {
                break;
            }
        }
        left
    }

    /// Of each of `chunks` that has visits with all of the values of `filters`, each of a list, both by number, gives `take` what is known
    /// of its visits, their first one's number, and which they are.
    pub fn each(
        mut self,
        chunks: &[(usize, Option<Left>)],
        filters: &[(usize, u32)],
        wanted: &[Column],
        mut take: impl FnMut(&Opened, u32, &[u16]) -> Option<()>,
    ) -> Option<()> {
        // The others were looked at by [`chunks_with`].
        let filters: Vec<(usize, u32)> = filters.iter().copied().filter(|(list, _)| has_many(*list)).collect();
        for (chunk, before) in chunks {
            let mut opened = Opened::default();
            let further = if filters.is_empty() {
                None
            } else {
                Some(self.left(*chunk, before.as_ref(), &filters, &mut opened)?)
            };
            let left = further.as_ref().or(before.as_ref());
            if left.is_some_and(|left| left.visits.is_empty()) {
                continue;
            }
            wanted.iter().try_for_each(|column| self.open(*column, *chunk, &mut opened))?;
            let first = (chunk * CHUNK_VISITS) as u32;
            let count = opened.visits().filter(|count| *count <= CHUNK_VISITS)?;
            match left {
                Some(left) if left.of != count => return None,
                Some(left) => take(&opened, first, &left.visits)?,
                None => take(&opened, first, &(0..count as u16).collect::<Vec<_>>())?,
            }
        }
        Some(())
    }
}

/// What filters leave of the visits of a chunk.
pub struct Left {
    /// How many there are.
    of: usize,
    /// By their places in it.
    visits: Vec<u16>,
}

/// The chunks that may have visits with all of the values of `filters`, each of a list, both by number, and which ones: as far as can be
/// told from the lists of which a visit has one value at most. If no filter is of such a list, nothing is said of visits. The columns of these lists have
/// to be whole, and of others the chunks known. `None`: they are not what [`super::visits::pack`] made.
pub fn chunks_with(columns: &Columns, filters: &[(usize, u32)]) -> Option<Vec<(usize, Option<Left>)>> {
    let count = of(columns, Column::Visitor)?.count();
    if columns.iter().any(|(_, chunks)| chunks.count() != count) {
        return None;
    }
    let filters: Vec<(usize, u32)> = filters.iter().copied().filter(|(list, _)| !has_many(*list)).collect();
    if filters.is_empty() {
        return Some((0..count).map(|chunk| (chunk, None)).collect());
    }
    let mut reader = Reader::new(columns)?;
    let mut chunks = Vec::new();
    for chunk in 0..count {
        let left = reader.left(chunk, None, &filters, &mut Opened::default())?;
        if !left.visits.is_empty() {
            chunks.push((chunk, Some(left)));
        }
    }
    Some(chunks)
}

/// The visits in `chunks` that have all of the values of `filters`, each of a list, both by number: of each its number, and its
/// visitor's. The columns have to be there that [`super::visits::Wanted::columns`] says. `None`: they are not what [`super::visits::pack`] made.
pub fn kept(columns: &Columns, chunks: &[(usize, Option<Left>)], filters: &[(usize, u32)]) -> Option<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    Reader::new(columns)?.each(chunks, filters, &[Column::Visitor], |opened, first, kept| {
        let visitors = opened.visitors()?;
        for visit in kept {
            all.push((first + u32::from(*visit), *visitors.get(*visit as usize)?));
        }
        Some(())
    })?;
    Some(all)
}
