//! The table in `ClickHouse`, and what is asked of it.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::ClickHouseError;
use super::columns::{COLUMNS, Layout, Times, checksum_here, microseconds, moment};
use super::http::Http;
use super::settings::ClickHouse;

pub const HOUR_US: i64 = 3_600 * 1_000_000;
pub const DAY_US: i64 = 24 * HOUR_US;
/// The inserts that a table remembers by their tokens: a batch of the widest reach makes some hundred.
const TOKENS_REMEMBERED: u32 = 1_000;
/// How the ids of weir's inserts begin, by which `ClickHouse` knows them while they are done; then comes the table.
const QUERY_PREFIX: &str = "weir-";
/// Ids in one statement: 200 kB.
const IDS_MAX: usize = 5_000;

/// What this server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Server {
    has_datetime64: bool,
    /// Whether inserts into a table without replicas are taken once by token: from 22.2 on or so.
    has_tokens: bool,
    /// Inserts that are answered before they are done: not ours.
    has_async: bool,
    /// Before 19.0.
    must_allow_words: bool,
}

/// Rows and the sum of their checksums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    /// Modulo 2^64.
    pub checksum: u64,
}

/// A stretch of `occurred_at`, microseconds since 1970; without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub from_us: i64,
    pub to_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    http: Http,
    database: String,
    name: String,
    server: Server,
    layout: Layout,
}

impl Table {
    /// The table as it is; `None`: it is not there.
    pub async fn find(settings: &ClickHouse) -> Result<Option<Self>, ClickHouseError> {
        let http = Http::new(settings)?;
        let (database, name) = (settings.database.clone(), settings.table.clone());
        let declared = declared(&http, &database, &name).await?;
        if declared.is_empty() {
            return Ok(None);
        }
        let server = Server::of(&http).await?;
        let layout = Layout::of(&declared, server.times())?;
        Ok(Some(Self { http, database, name, server, layout }))
    }

    /// Makes the table.
    pub async fn make(settings: &ClickHouse) -> Result<(), ClickHouseError> {
        let http = Http::new(settings)?;
        let server = Server::of(&http).await?;
        let times = server.times();
        let columns: Vec<String> = COLUMNS.iter().map(|column| column.declaration(times)).collect();
        let day = match times {
            Times::DateTime64 => "toYYYYMMDD(occurred_at)".to_owned(),
            Times::Int64 => format!("intDiv(occurred_at, {DAY_US})"),
        };
        // Days are what retention drops and late events fall into; equal rows are equal in the key, and one of them stays.
        let mut sql = format!(
            "create table if not exists {}.{} ({}) engine = ReplacingMergeTree() partition by {day} order by (source, kind, occurred_at, event_id)",
            settings.database,
            settings.table,
            columns.join(", ")
        );
        if server.has_tokens {
            sql.push_str(" settings non_replicated_deduplication_window = ");
            sql.push_str(&TOKENS_REMEMBERED.to_string());
        }
        let allow: &[_] =
            if server.must_allow_words { &[("allow_experimental_low_cardinality_type", "1")] } else { &[] };
        http.execute(sql, allow).await
    }

    /// Inserts rows, and waits until they are there. With the same token they are taken once; with one of its own each insert is,
    /// which has to be said: else rows are left out that are equal to a block that was there, though it be deleted.
    pub async fn insert(&self, token: &str, rows: Vec<u8>) -> Result<(), ClickHouseError> {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let statement = format!("insert into {} ({}) format RowBinary", self.name(), names.join(", "));
        let query_id = format!("{}{token}", self.queries());
        let mut settings = vec![("query_id", query_id.as_str())];
        if self.server.has_tokens {
            settings.push(("insert_deduplication_token", token));
        }
        if self.server.has_async {
            settings.push(("async_insert", "0"));
        }
        self.http.insert(&statement, &settings, rows).await
    }

    /// Whether an insert of an earlier follower's is still being done.
    pub async fn is_running(&self) -> Result<bool, ClickHouseError> {
        let sql = format!("select count() from system.processes where position(query_id, '{}') = 1", self.queries());
        Ok(number(&self.http.value(&sql).await?)? > 0)
    }

    /// Deletions that were accepted and are not carried out yet; the reason, if one failed.
    pub async fn deletions(&self) -> Result<u64, ClickHouseError> {
        let Self { database, name, .. } = self;
        let sql = format!(
            "select count() from system.mutations where database = '{database}' and table = '{name}' and not is_done"
        );
        number(&self.http.value(&sql).await?)
    }

    /// Which of these ids are there, each with its checksum; `None`: several rows have that id, and are not alike.
    pub async fn checksums(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Option<u64>>, ClickHouseError> {
        let mut checksums = HashMap::new();
        for ids in ids.chunks(IDS_MAX) {
            let sql = format!("{} group by id_text", self.checksums_where(&self.are(ids)));
            for row in self.http.rows(&sql).await? {
                checksums.extend([checksum(&row)?]);
            }
        }
        Ok(checksums)
    }

    /// The starts of the days of which there are rows, in microseconds.
    pub async fn days(&self) -> Result<Vec<i64>, ClickHouseError> {
        let day = format!("intDiv({}, {DAY_US}) * {DAY_US}", self.occurred_us());
        let rows = self.http.rows(&format!("select distinct {day} from {}", self.name())).await?;
        rows.iter().map(|row| row.first().and_then(|day| day.parse().ok()).ok_or_else(|| unclear(row))).collect()
    }

    /// Has these rows deleted. It is accepted when this returns, and done some time later; rows that are inserted meanwhile stay.
    pub async fn delete(&self, ids: &[Uuid]) -> Result<(), ClickHouseError> {
        for ids in ids.chunks(IDS_MAX) {
            self.http.execute(format!("alter table {} delete where {}", self.name(), self.are(ids)), &[]).await?;
        }
        Ok(())
    }

    /// As [`Self::delete`], everything in the range.
    pub async fn delete_range(&self, range: Range) -> Result<(), ClickHouseError> {
        self.http.execute(format!("alter table {} delete where {}", self.name(), self.within(range)), &[]).await
    }

    /// What is in the range, by the hour's start in microseconds.
    pub async fn sums(&self, range: Range) -> Result<BTreeMap<i64, Sum>, ClickHouseError> {
        let hour = format!("intDiv({}, {HOUR_US}) * {HOUR_US}", self.occurred_us());
        let sql = format!(
            "select {hour} as hour_us, count(), sum({}) from {} final where {} group by hour_us",
            checksum_here(&self.layout),
            self.name(),
            self.within(range)
        );
        let mut sums = BTreeMap::new();
        for row in self.http.rows(&sql).await? {
            let [hour, rows, checksum] = row.as_slice() else { return Err(unclear(&row)) };
            let hour = hour.parse().map_err(|_| ClickHouseError::Unclear(hour.clone()))?;
            sums.insert(hour, Sum { rows: number(rows)?, checksum: number(checksum)? });
        }
        Ok(sums)
    }

    /// The first `limit` ids of the range behind `after`, up to `end`: as [`Self::checksums`].
    pub async fn page(
        &self,
        range: Range,
        after: Uuid,
        end: Uuid,
        limit: usize,
    ) -> Result<Vec<(Uuid, Option<u64>)>, ClickHouseError> {
        // UUIDs are not compared as bytes here; their text is.
        let sql = format!(
            "{} and id_text > '{after}' and id_text <= '{end}' group by id_text order by id_text limit {limit}",
            self.checksums_where(&self.within(range))
        );
        self.http.rows(&sql).await?.iter().map(|row| checksum(row)).collect()
    }

    /// What is found `so`, by id, which has to be grouped by.
    fn checksums_where(&self, so: &str) -> String {
        let checksum = checksum_here(&self.layout);
        let name = self.name();
        format!("select toString(event_id) as id_text, min({checksum}), max({checksum}) from {name} where {so}")
    }

    /// How the ids of inserts into this table begin: there may be others on that server.
    fn queries(&self) -> String {
        format!("{QUERY_PREFIX}{}-", self.name())
    }

    fn name(&self) -> String {
        format!("{}.{}", self.database, self.name)
    }

    fn within(&self, Range { from_us, to_us }: Range) -> String {
        let times = self.layout.occurred_at();
        format!("occurred_at >= {} and occurred_at < {}", moment(from_us, times), moment(to_us, times))
    }

    fn occurred_us(&self) -> String {
        microseconds("occurred_at", self.layout.occurred_at())
    }

    /// By id, and by the times that are in them, which is what the table is ordered by.
    fn are(&self, ids: &[Uuid]) -> String {
        let texts: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        format!("{} and event_id in ({})", self.within(range_of(ids)), texts.join(", "))
    }
}

/// The times that these ids have in them.
pub fn range_of(ids: &[Uuid]) -> Range {
    let times = ids.iter().map(|id| milliseconds(*id));
    let (first, last) = times.fold((i64::MAX, 0), |(first, last), ms| (first.min(ms), last.max(ms)));
    Range { from_us: first.min(last) * 1_000, to_us: (last + 1) * 1_000 }
}

/// The event's time in its id (`src/event_id.rs`).
pub fn milliseconds(id: Uuid) -> i64 {
    // 48 bits.
    (id.as_u128() >> 80) as i64
}

impl Server {
    fn times(self) -> Times {
        if self.has_datetime64 { Times::DateTime64 } else { Times::Int64 }
    }

    async fn of(http: &Http) -> Result<Self, ClickHouseError> {
        let has = async |table: &str, name: &str| {
            let sql = format!("select count() from system.{table} where name = '{name}'");
            Ok::<bool, ClickHouseError>(number(&http.value(&sql).await?)? > 0)
        };
        let has_datetime64 = has("data_type_families", "DateTime64").await?;
        Ok(Self {
            has_datetime64,
            has_tokens: has("settings", "insert_deduplication_token").await?
                && has("merge_tree_settings", "non_replicated_deduplication_window").await?,
            has_async: has("settings", "async_insert").await?,
            must_allow_words: !has_datetime64 && has("settings", "allow_experimental_low_cardinality_type").await?,
        })
    }
}

/// Name and type of each column; none where there is no table.
async fn declared(http: &Http, database: &str, table: &str) -> Result<Vec<(String, String)>, ClickHouseError> {
    let sql = format!("select name, type from system.columns where database = '{database}' and table = '{table}'");
    let rows = http.rows(&sql).await?;
    // A type's own quotes are escaped.
    rows.iter()
        .map(|row| match row.as_slice() {
            [name, declared] => Ok((name.clone(), declared.replace("\\'", "'"))),
            _ => Err(unclear(row)),
        })
        .collect()
}

fn number(text: &str) -> Result<u64, ClickHouseError> {
    text.parse().map_err(|_| ClickHouseError::Unclear(text.to_owned()))
}

fn id(row: &[String], place: usize) -> Result<Uuid, ClickHouseError> {
    row.get(place).and_then(|text| text.parse().ok()).ok_or_else(|| unclear(row))
}

fn checksum(row: &[String]) -> Result<(Uuid, Option<u64>), ClickHouseError> {
    let [_, least, greatest] = row else { return Err(unclear(row)) };
    let (least, greatest) = (number(least)?, number(greatest)?);
    Ok((id(row, 0)?, (least == greatest).then_some(least)))
}

fn unclear(row: &[String]) -> ClickHouseError {
    ClickHouseError::Unclear(row.join("\t"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_id::event_id;

    #[test]
    fn the_range_of_ids_holds_their_times() {
        let id = |time: &str| event_id(time.parse().expect("a time"), 7);
        let ids = [id("2026-11-22T10:00:00.123456Z"), id("2026-11-20T00:00:00Z"), id("2026-11-21T00:00:00Z")];
        let us = |time: &str| time.parse::<jiff::Timestamp>().expect("a time").as_microsecond();
        let Range { from_us, to_us } = range_of(&ids);
        assert_eq!(from_us, us("2026-11-20T00:00:00Z"));
        assert_eq!(to_us, us("2026-11-22T10:00:00.124Z"));
    }
}
