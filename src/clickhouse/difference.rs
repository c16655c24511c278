//! Whether both databases have the same, day by day: rows, and the sums of their checksums.

use std::collections::BTreeMap;

use deadpool_postgres::ClientWrapper;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::ClickHouseError;
use super::rows;
use super::table::{DAY_US, Range, Sum, Table};

/// One day on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    pub date: Date,
    pub postgres: Sum,
    pub clickhouse: Sum,
}

impl Day {
    pub fn is_equal(&self) -> bool {
        self.postgres == self.clickhouse
    }
}

/// Compares one day. Events that come meanwhile may be on one side only.
pub async fn of_day(client: &mut ClientWrapper, table: &Table, date: Date) -> Result<Day, ClickHouseError> {
    let from_us = date.to_zoned(TimeZone::UTC).map_or(Timestamp::MIN, |start| start.timestamp()).as_microsecond();
    let range = Range { from_us, to_us: from_us + DAY_US };
    let clickhouse = total(&table.sums(range).await?);
    let postgres = total(&rows::sums(client, range).await?);
    Ok(Day { date, postgres, clickhouse })
}

fn total(sums: &BTreeMap<i64, Sum>) -> Sum {
    sums.values().fold(Sum::default(), |total, sum| Sum {
        rows: total.rows + sum.rows,
        checksum: total.checksum.wrapping_add(sum.checksum),
    })
}
