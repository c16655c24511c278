//! Which column is meant by the stream, which names columns as they were, in the order of their numbers.
//!
//! The catalog of now may know them by other names, know more of them, or know that some are gone. Numbers are never used
//! again, so the stream's columns are a rising row of numbers that contains all that still exist, but for the newest. If only
//! one such row is possible, or only one in which all names and types are as they were or are, it is that one. Otherwise
//! nobody can tell, and nothing is guessed: a column that was dropped and made again, say, with changes from before and after.

use super::pgoutput::RelationColumn;
use super::publisher::RemoteColumn;

/// A name that is neither known nor there now: renamed twice, say.
const OTHER_NAME: u32 = 4;
const OTHER_TYPE: u32 = 3;

/// The rows that lead to one place.
#[derive(Debug, Clone, Copy, Default)]
struct Ways {
    all: u32,
    /// Differences in the best ones.
    cost: u32,
    best: u32,
}

impl Ways {
    fn and(self, other: Self) -> Self {
        let all = self.all.saturating_add(other.all);
        match (self.all, other.all) {
            (0, _) => other,
            (_, 0) => self,
            _ if self.cost < other.cost => Self { all, ..self },
            _ if self.cost > other.cost => Self { all, ..other },
            _ => Self { all, cost: self.cost, best: self.best.saturating_add(other.best) },
        }
    }
}

/// The number of each of the stream's columns. `None`: they cannot be told.
///
/// `known` are names that columns had when the catalog was looked at before.
pub fn align(stream: &[RelationColumn], now: &[RemoteColumn], known: &[(i16, String)]) -> Option<Vec<i16>> {
    let candidates: Vec<&RemoteColumn> = now.iter().filter(|column| !column.is_generated).collect();
    let (rows, columns) = (stream.len(), candidates.len());
    let known_name = |attnum| known.iter().find(|(number, _)| *number == attnum).map(|(_, name)| name.as_str());
    let differs = |wanted: &RelationColumn, candidate: &RemoteColumn| {
        let is_named = (!candidate.is_gone && candidate.name == wanted.name)
            || known_name(candidate.attnum) == Some(wanted.name.as_str());
        let name = if is_named { 0 } else { OTHER_NAME };
        // Of a column that is gone, the catalog has forgotten the type.
        let type_ = if candidate.is_gone || candidate.type_oid == wanted.type_oid { 0 } else { OTHER_TYPE };
        name + type_
    };
    // ways[i][j]: the first i of the stream are among the first j candidates.
    let mut ways = vec![vec![Ways::default(); columns + 1]; rows + 1];
    ways[0][0] = Ways { all: 1, cost: 0, best: 1 };
    let taken = |ways: &[Vec<Ways>], i: usize, j: usize| match i.checked_sub(1) {
        Some(before) => {
            let from = ways[before][j - 1];
            Ways { cost: from.cost.saturating_add(differs(&stream[before], candidates[j - 1])), ..from }
        }
        None => Ways::default(),
    };
    for j in 1..=columns {
        for i in 0..=rows {
            // Once all of the stream are placed, what follows was added later.
            let may_skip = candidates[j - 1].is_gone || i == rows;
            let skipped = if may_skip { ways[i][j - 1] } else { Ways::default() };
            ways[i][j] = skipped.and(taken(&ways, i, j));
        }
    }
    let end = ways[rows][columns];
    if end.all != 1 && (end.best != 1 || end.cost > 0) {
        return None;
    }
    let (mut i, mut numbers) = (rows, Vec::with_capacity(rows));
    for j in (1..=columns).rev() {
        let way = taken(&ways, i, j);
        if way.all > 0 && way.cost == ways[i][j].cost {
            numbers.push(candidates[j - 1].attnum);
            i -= 1;
        }
    }
    numbers.reverse();
    (numbers.len() == rows).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:type`; a number that is gone is `-`.
    fn now(text: &str) -> Vec<RemoteColumn> {
        let column = |(index, text): (usize, &str)| {
            let (name, type_oid) = text.split_once(':').unwrap_or((text, "0"));
            RemoteColumn {
                attnum: index as i16 + 1,
                name: name.to_owned(),
                type_oid: type_oid.parse().expect("a number"),
                type_mod: -1,
                is_gone: name == "-",
                is_generated: false,
                has_default: false,
                missing: None,
            }
        };
        text.split(' ').enumerate().map(column).collect()
    }

    fn aligned(stream: &str, catalog: &str, known: &str) -> Option<Vec<i16>> {
        let stream: Vec<RelationColumn> = now(stream)
            .into_iter()
            .map(|column| RelationColumn { name: column.name, type_oid: column.type_oid })
            .collect();
        let known: Vec<(i16, String)> = now(known).into_iter().map(|column| (column.attnum, column.name)).collect();
        align(&stream, &now(catalog), &known)
    }

    #[test]
    fn the_stream_may_be_behind() {
        for (stream, catalog, known, expected) in [
            ("id:20 plan:25", "id:20 plan:25", "id plan", &[1, 2][..]),
            // Added since, renamed since, gone since.
            ("id:20 plan:25", "id:20 plan:25 age:23", "id plan", &[1, 2]),
            ("id:20 plan:25", "id:20 tier:25", "id plan", &[1, 2]),
            ("id:20 plan:25", "id:20 -", "id plan", &[1, 2]),
            ("id:20 a:25", "id:20 - b:25", "id a", &[1, 2]),
            // And in it already.
            ("id:20 b:25", "id:20 - b:25", "id a", &[1, 3]),
            ("id:20 tier:25 age:23", "id:20 tier:25 age:23", "id plan", &[1, 2, 3]),
            // Two that exchanged names, before and after.
            ("id:20 a:25 b:23", "id:20 b:25 a:23", "id a b", &[1, 2, 3]),
            ("id:20 b:25 a:23", "id:20 b:25 a:23", "id a b", &[1, 2, 3]),
            // A type that changed since.
            ("id:23 plan:25", "id:20 plan:25", "id plan", &[1, 2]),
            // All at once.
            ("id:20 a:25 c:23 d:25", "id:20 - c:23 d2:25 e:23", "id a c d", &[1, 2, 3, 4]),
        ] {
            assert_eq!(aligned(stream, catalog, known).as_deref(), Some(expected), "{stream}, {catalog}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        // Dropped, and made again with its name: before, or after?
        assert_eq!(aligned("id:20 a:23", "id:20 - a:23", "id a"), None);
        assert_eq!(aligned("id:20 x:23", "id:20 - - b:23", "id a c"), None);
        // The catalog is older than the stream.
        assert_eq!(aligned("id:20 a:23", "id:20", "id"), None);
    }
}
