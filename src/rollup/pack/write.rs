//! A run of a packed rollup: visits come by a cursor, rows go by some hundred.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::part::{Packed, Part, Visit};
use super::{BYTES_MIN, BYTES_PER_EVENT_MAX, GROUPS};
use crate::rollup::{RollupError, literal};

/// The table's columns.
pub const COLUMNS: &str =
    "(bucket timestamptz not null, source text not null, part integer not null, key bytea not null,
    is_whole boolean, figures bytea, audience bytea, pages bytea, events bytea, vitals bytea)";
const INSERT: &str = "(bucket, source, part, key, is_whole, figures, audience, pages, events, vitals)
    select $1, $2, $3, * from unnest($4::bytea[], $5::boolean[], $6::bytea[], $7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[])";
/// What is read of a visit; at the end the lists of [`super::Group::Audience`].
const VISIT: &str =
    "bucket, source, visitor_id, minute, events, page_views, is_bounce, duration_ms, entry, exit, pages, event_names, vitals,
    referrer, utm_source, utm_medium, utm_campaign, country, region, device, browser, os";
/// The events within the visits that have properties. A visit ends with its last event, and is known to the millisecond; the next one
/// begins half an hour later. PostgreSQL sees from the times which partitions are meant.
const PROPERTIES: &str = "select source, visitor_id, started_at, array_agg(name) as names, array_agg(properties) as properties
      from (select v.source, v.visitor_id, v.started_at, e.name, e.properties::text as properties,
                   count(*) over so_far as events, sum(octet_length(e.properties::text)) over so_far as bytes
              from visits v join analytics.events e on e.source = v.source and e.visitor_id = v.visitor_id
             where e.occurred_at >= v.started_at
               and e.occurred_at < v.started_at + (v.duration_ms + 1000) * interval '1 millisecond'
               and not e.is_bot and e.name is not null and jsonb_typeof(e.properties) = 'object' and e.properties <> '{}'
               and e.kind not in ('page', 'engagement', 'web_vitals', 'identify', 'alias', 'group')";
/// Of a visit the first so many of these, and no more bytes: anybody may send many, and large ones.
const PROPERTY_EVENTS_MAX: u32 = 1_000;
const PROPERTY_BYTES_MAX: u32 = 128 << 10;
/// Visits last into the day after theirs: rollups/sessions.sql cuts them after six hours of it.
const VISIT_HOURS_PAST_DAY_MAX: u32 = 7;
/// Visits at a time: few enough that the properties of their events take tens of megabytes at the most.
const FETCH: &str = "fetch 500 from weir_visits";
/// Rows are sent when there are so many, or they have so many bytes.
const ROWS_MAX: usize = 1_000;
const ROWS_BYTES_MAX: u64 = 1 << 20;

/// Indexes, and how columns are stored: they are compressed already.
pub fn after(relation: &str, index: &str) -> String {
    format!(
        "create index {index} on {relation} (key, bucket);
         alter table {relation} alter figures set storage external, alter audience set storage external,
             alter pages set storage external, alter events set storage external, alter vitals set storage external"
    )
}

/// Where rows go.
struct Sink<'t> {
    transaction: &'t Transaction<'t>,
    insert: String,
    rows: u64,
}

/// Packs the visits that `select`, which reads `windows`, gives into `relation`; returns how many rows that were. `within`: from when
/// and until when their buckets are.
pub async fn pack(
    transaction: &Transaction<'_>,
    windows: &str,
    select: &str,
    relation: &str,
    within: (&str, &str),
) -> Result<u64, RollupError> {
    let (from, until) = (literal(within.0), literal(within.1));
    // `started_at`: of those who come twice, the first visit first. Events are not looked for visit by visit, even where nobody knows
    // yet how many there are.
    let cursor = format!(
        "set local enable_nestloop = off;
         declare weir_visits no scroll cursor for
         with visits as materialized ({windows}\n{select}\n), of_events as (
             {PROPERTIES}
               and e.occurred_at >= timestamptz {from}
               and e.occurred_at < timestamptz {until} + interval '{VISIT_HOURS_PAST_DAY_MAX} hours'
            window so_far as (partition by v.source, v.visitor_id, v.started_at order by e.occurred_at, e.event_id)) within
              where events <= {PROPERTY_EVENTS_MAX} and bytes <= {PROPERTY_BYTES_MAX}
              group by source, visitor_id, started_at)
         select {VISIT}, names, properties from visits left join of_events using (source, visitor_id, started_at)
          order by bucket, source, visitor_id, started_at;
         set local enable_nestloop = on"
    );
    transaction.batch_execute(&cursor).await?;
    let mut sink = Sink { transaction, insert: format!("insert into {relation} {INSERT}"), rows: 0 };
    let mut of: Option<(SystemTime, String)> = None;
    let mut number = 0_i32;
    let mut part = Part::default();
    loop {
        let rows = transaction.query_typed(FETCH, &[]).await?;
        for row in &rows {
            let (bucket, source): (SystemTime, &str) = (row.try_get(0)?, row.try_get(1)?);
            let visit = visit(row)?;
            let is_other = of.as_ref().is_none_or(|of| of.0 != bucket || of.1 != source);
            if is_other || part.is_full(visit.visitor_id) {
                if let Some(of) = &of {
                    sink.write(of, number, std::mem::take(&mut part)).await?;
                }
                number = if is_other { 0 } else { number + 1 };
                of = Some((bucket, source.to_owned()));
            }
            part.add(&visit);
        }
        if rows.is_empty() {
            break;
        }
    }
    if let Some(of) = &of {
        sink.write(of, number, part).await?;
    }
    transaction.batch_execute("close weir_visits").await?;
    Ok(sink.rows)
}

/// A row of [`VISIT`]: to look for columns by name takes as long as all the rest.
fn visit(row: &Row) -> Result<Visit<'_>, RollupError> {
    let mut visit = Visit {
        visitor_id: row.try_get(2)?,
        minute: row.try_get(3)?,
        events: row.try_get(4)?,
        page_views: row.try_get(5)?,
        is_bounce: row.try_get(6)?,
        duration_ms: row.try_get(7)?,
        entry: row.try_get(8)?,
        exit: row.try_get(9)?,
        pages: row.try_get::<_, Option<_>>(10)?.unwrap_or_default(),
        event_names: row.try_get::<_, Option<_>>(11)?.unwrap_or_default(),
        vitals: row.try_get::<_, Option<_>>(12)?.unwrap_or_default(),
        ..Visit::default()
    };
    for (place, value) in visit.audience.iter_mut().enumerate() {
        *value = row.try_get(13 + place)?;
    }
    let of_events = 13 + visit.audience.len();
    let names: Option<Vec<&str>> = row.try_get(of_events)?;
    let properties: Option<Vec<&str>> = row.try_get(of_events + 1)?;
    visit.properties = names.into_iter().flatten().zip(properties.into_iter().flatten()).collect();
    Ok(visit)
}

impl Sink<'_> {
    async fn write(&mut self, of: &(SystemTime, String), number: i32, part: Part) -> Result<(), RollupError> {
        let bytes_max = (part.events() * BYTES_PER_EVENT_MAX).max(BYTES_MIN);
        let (to, mut from) = tokio::sync::mpsc::channel::<Vec<Packed>>(2);
        // It computes for some hundred milliseconds; what is sent waits until it is taken.
        let packing = tokio::task::spawn_blocking(move || {
            let (mut rows, mut bytes) = (Vec::new(), 0);
            let packed = part.pack(bytes_max, |row| {
                bytes += row.bytes();
                rows.push(row);
                if rows.len() < ROWS_MAX && bytes < ROWS_BYTES_MAX {
                    return Ok(());
                }
                bytes = 0;
                to.blocking_send(std::mem::take(&mut rows)).map_err(drop)
            });
            // Where nobody takes it any more, that one has failed, and says so.
            let _ = packed.and_then(|()| to.blocking_send(rows).map_err(drop));
        });
        while let Some(rows) = from.recv().await {
            self.insert(of, number, rows).await?;
        }
        // A panic is a bug, and must not leave half a part.
        packing.await.map_err(|_| RollupError::Packing)
    }

    async fn insert(&mut self, of: &(SystemTime, String), number: i32, rows: Vec<Packed>) -> Result<(), RollupError> {
        let keys: Vec<&[u8]> = rows.iter().map(|row| row.key.as_slice()).collect();
        let are_whole: Vec<Option<bool>> = rows.iter().map(|row| row.is_whole).collect();
        let [figures, audience, pages, events, vitals]: [Vec<Option<&[u8]>>; GROUPS.len()] =
            std::array::from_fn(|group| rows.iter().map(|row| row.groups.get(group)?.as_deref()).collect());
        self.rows += self
            .transaction
            .execute_typed(
                &self.insert,
                &[
                    (&of.0, Type::TIMESTAMPTZ),
                    (&of.1, Type::TEXT),
                    (&number, Type::INT4),
                    (&keys, Type::BYTEA_ARRAY),
                    (&are_whole, Type::BOOL_ARRAY),
                    (&figures, Type::BYTEA_ARRAY),
                    (&audience, Type::BYTEA_ARRAY),
                    (&pages, Type::BYTEA_ARRAY),
                    (&events, Type::BYTEA_ARRAY),
                    (&vitals, Type::BYTEA_ARRAY),
                ],
            )
            .await?;
        Ok(())
    }
}
