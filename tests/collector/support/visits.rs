//! Random events with all their oddities, and what the dashboard has to say of them, computed here from docs/dashboard.md and in
//! no SQL.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::TestDatabase;
use super::chance::Chance;

const MINUTE_MS: i64 = 60_000;
pub const DAY_MS: i64 = 86_400_000;
const SILENT: [&str; 5] = ["engagement", "web_vitals", "identify", "alias", "group"];

/// One event, as far as the dashboard reads it.
#[derive(Debug, Clone)]
pub struct Event {
    pub at_ms: i64,
    pub source: &'static str,
    pub kind: &'static str,
    pub name: Option<&'static str>,
    pub path: Option<&'static str>,
    pub visitor: Option<String>,
    /// Referrer's host, UTM source, medium and campaign, country, region, device, browser, system.
    pub of: [Option<&'static str>; 9],
    pub is_bot: bool,
    pub properties: Value,
}

/// What somebody did without a pause.
#[derive(Debug, Clone)]
pub struct Visit {
    pub source: &'static str,
    pub visitor: String,
    pub start_ms: i64,
    pub end_ms: i64,
    pub events: usize,
    pub pages: Vec<Option<&'static str>>,
    pub names: BTreeSet<&'static str>,
    pub referrer: String,
    pub of: [Option<&'static str>; 9],
}

fn pick(chance: &mut Chance, from: &[Option<&'static str>]) -> Option<&'static str> {
    from[chance.between(0, from.len() as u64 - 1) as usize]
}

/// About `count` events, in visits on the days before and around those of `midnights_ms`.
pub fn random(chance: &mut Chance, count: usize, midnights_ms: &[i64]) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let midnight = midnights_ms[chance.between(0, midnights_ms.len() as u64 - 1) as usize];
        // Some begin just before or at midnight.
        let offset = match chance.between(0, 9) {
            0 => DAY_MS - 5 * MINUTE_MS,
            1 => 0,
            _ => chance.between(0, DAY_MS as u64 - 1) as i64,
        };
        let mut at_ms = midnight + offset;
        let source = if chance.happens(60) { "web" } else { "shop" };
        let visitor = (!chance.happens(8)).then(|| format!("v{}", chance.between(0, 60)));
        let is_bot = chance.happens(7);
        let of = [
            pick(chance, &[None, None, Some("www.google.com"), Some("news.example"), Some("own.example")]),
            pick(chance, &[None, None, None, Some("newsletter")]),
            pick(chance, &[None, None, Some("email"), Some("cpc")]),
            pick(chance, &[None, Some("autumn"), Some("<b>\"&'")]),
            pick(chance, &[Some("DE"), Some("FR"), Some("US"), None]),
            pick(chance, &[None, Some("Bavaria"), Some("Texas")]),
            pick(chance, &[Some("desktop"), Some("mobile"), None]),
            pick(chance, &[Some("Firefox"), Some("Chrome")]),
            pick(chance, &[Some("Linux"), Some("iOS"), None]),
        ];
        for _ in 0..chance.between(1, 6) {
            let kind = match chance.between(0, 9) {
                0..5 => "page",
                5 => "click",
                6 => "track",
                7 => "engagement",
                8 => "web_vitals",
                _ => "identify",
            };
            let name = match kind {
                "track" => pick(chance, &[Some("signup"), Some("buy")]),
                "click" => pick(chance, &[Some("cta"), Some("signup"), None]),
                "engagement" => Some("engagement"),
                _ => None,
            };
            let plan = if chance.happens(50) { "free" } else { "team" };
            let properties = match kind {
                "track" => {
                    json!({"plan": plan, "seats": chance.between(1, 3),
                                  "nested": {"a": 1}, "gone": null})
                }
                "web_vitals" => {
                    json!({"lcp": chance.between(500, 90_000) as f64 / 7.0, "cls": chance.between(0, 40) as f64 / 100.0,
                                       "inp": "fast"})
                }
                _ => Value::Null,
            };
            let path = pick(chance, &[Some("/"), Some("/pricing"), Some("/docs/a b"), Some("/blog"), None]);
            events.push(Event { at_ms, source, kind, name, path, visitor: visitor.clone(), of, is_bot, properties });
            // Half an hour to the moment is no pause; a millisecond more is.
            at_ms += match chance.between(0, 9) {
                0 => 30 * MINUTE_MS,
                1 => 30 * MINUTE_MS + 1,
                2 => chance.between(31, 90) as i64 * MINUTE_MS,
                _ => chance.between(1, 20 * MINUTE_MS as u64) as i64,
            };
        }
    }
    // No two at the same moment: which comes first would be up to their ids.
    events.sort_by_key(|event| event.at_ms);
    for at in 1..events.len() {
        events[at].at_ms = events[at].at_ms.max(events[at - 1].at_ms + 1);
    }
    events
}

/// Stores them, and has rollups know.
pub async fn store(database: &TestDatabase, events: &[Event]) {
    let rows: Vec<Value> = events
        .iter()
        .map(|event| {
            let [referrer_host, utm_source, utm_medium, utm_campaign, country, region, device, browser, os] = event.of;
            json!({
                "at": event.at_ms, "source": event.source, "kind": event.kind, "name": event.name, "path": event.path,
                "visitor_id": event.visitor, "is_bot": event.is_bot, "host": "own.example", "referrer_host": referrer_host,
                "utm_source": utm_source, "utm_medium": utm_medium, "utm_campaign": utm_campaign, "country": country,
                "region": region, "device": device, "browser": browser, "os": os, "properties": event.properties,
            })
        })
        .collect();
    let columns = "source, kind, name, path, visitor_id, is_bot, host, referrer_host, utm_source, utm_medium, utm_campaign, country,
                   region, device, browser, os";
    let sql = format!(
        "with given as (
             select gen_random_uuid() as event_id, timestamptz 'epoch' + at * interval '1 ms' as occurred_at, now() as received_at,
                    {columns}, nullif(properties, 'null') as properties
               from jsonb_to_recordset($1::text::jsonb) as e (at bigint, source text, kind text, name text, path text, visitor_id text,
                    is_bot boolean, host text, referrer_host text, utm_source text, utm_medium text, utm_campaign text, country text,
                    region text, device text, browser text, os text, properties jsonb)
         ), stored as (
             insert into analytics.events (event_id, occurred_at, received_at, {columns}, properties) select * from given
             returning occurred_at
         )
         insert into weir.touched (hours) select array_agg(distinct date_trunc('hour', occurred_at, 'UTC')) from stored
          having count(*) > 0"
    );
    database.client.execute(&sql, &[&Value::Array(rows).to_string()]).await.expect("stored");
}

fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The visits that these events are.
pub fn visits(events: &[Event]) -> Vec<Visit> {
    let mut by_visitor: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
    for event in events.iter().filter(|event| !event.is_bot && !SILENT.contains(&event.kind)) {
        if let Some(visitor) = &event.visitor {
            by_visitor.entry((event.source, visitor)).or_default().push(event);
        }
    }
    let mut visits: Vec<Visit> = Vec::new();
    for events in by_visitor.values_mut() {
        events.sort_by_key(|event| event.at_ms);
        let mut last_ms = i64::MIN / 2;
        for event in events {
            if event.at_ms - last_ms > 30 * MINUTE_MS {
                visits.push(begin(event));
            }
            last_ms = event.at_ms;
            let visit = visits.last_mut().expect("one has begun");
            visit.end_ms = event.at_ms;
            visit.events += 1;
            if event.kind == "page" {
                visit.pages.push(event.path);
            } else {
                visit.names.extend(event.name);
            }
        }
    }
    visits
}

fn begin(event: &Event) -> Visit {
    let [referrer, utm_source, ..] = event.of;
    let referrer = referrer.filter(|host| *host != "own.example").map(|host| host.trim_start_matches("www."));
    Visit {
        source: event.source,
        visitor: event.visitor.clone().expect("a visitor"),
        start_ms: event.at_ms,
        end_ms: event.at_ms,
        events: 0,
        pages: Vec::new(),
        names: BTreeSet::new(),
        referrer: utm_source.or(referrer).unwrap_or("direct").to_owned(),
        of: event.of,
    }
}

impl Visit {
    /// Days since 1970.
    pub fn day(&self) -> i64 {
        day_of(self.start_ms)
    }

    /// What the visit is in that dimension, if it is anything.
    pub fn values(&self, dimension: &str) -> Vec<String> {
        let [_, utm_source, utm_medium, utm_campaign, country, region, device, browser, os] = self.of;
        let text = |value: Option<&str>| value.map(ToOwned::to_owned).into_iter().collect();
        match dimension {
            "page" => self
                .pages
                .iter()
                .flatten()
                .map(|path| (*path).to_owned())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            "entry" => text(self.pages.first().copied().flatten()),
            "exit" => text(self.pages.last().copied().flatten()),
            "referrer" => vec![self.referrer.clone()],
            "utm_source" => text(utm_source),
            "utm_medium" => text(utm_medium),
            "utm_campaign" => text(utm_campaign),
            "country" => text(country),
            "region" => {
                country.zip(region).map(|(country, region)| format!("{country}/{region}")).into_iter().collect()
            }
            "device" => text(device),
            "browser" => text(browser),
            "os" => text(os),
            "event" => self.names.iter().map(|name| (*name).to_owned()).collect(),
            other => panic!("{other} is no dimension"),
        }
    }
}

/// Visitors of each day on each source, added up.
pub fn visitors<'v>(visits: impl IntoIterator<Item = &'v Visit>) -> usize {
    visits.into_iter().map(|visit| (visit.day(), visit.source, visit.visitor.as_str())).collect::<BTreeSet<_>>().len()
}

/// The events of one's own that lie within one of `visits`, each with the day of its visit.
pub fn within<'e>(events: &'e [Event], visits: &[Visit]) -> Vec<(i64, &'e Event)> {
    let holds = |visit: &Visit, event: &Event| {
        visit.source == event.source
            && Some(&visit.visitor) == event.visitor.as_ref()
            && (visit.start_ms..=visit.end_ms + 30 * MINUTE_MS).contains(&event.at_ms)
    };
    let found = events
        .iter()
        .filter(|event| !event.is_bot)
        .filter_map(|event| visits.iter().find(|visit| holds(visit, event)).map(|visit| (visit.day(), event)));
    found.collect()
}

/// Whether the events panel counts it.
pub fn is_ones_own(event: &Event) -> bool {
    event.kind != "page" && !SILENT.contains(&event.kind) && event.name.is_some()
}

/// The day of an event.
pub fn event_day(event: &Event) -> i64 {
    day_of(event.at_ms)
}
