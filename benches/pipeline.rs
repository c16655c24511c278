//! What one event costs on its way from a request's bytes to a frame of the journal. Only processor time: the ways
//! through the kernel are measured by `make loadtest`.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use jiff::Timestamp;
use uuid::Uuid;
use weir::Config;
use weir::clock::day_of;
use weir::decode::object::Texts;
use weir::decode::translate::Translation;
use weir::decode::{
    cloudevents, ga4, matomo, mend_escapes, native, plausible, posthog, reload, segment, snowplow, umami,
};
use weir::enrich::place::Places;
use weir::enrich::user_agent::UserAgents;
use weir::enrich::visitor::Salts;
use weir::enrich::{Enricher, RequestFacts};
use weir::event::Event;
use weir::journal::frame::{Frame, FrameBuilder, SourceCount};
use weir::metrics::Metrics;
use weir::row::{self, Row};
use weir::sources::{KeyKind, WriteKey};

/// As in weir itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of a batch, and tuples of a frame: a busy collector's group commits are about as large.
const BATCH_EVENTS: usize = 100;
const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
const SEGMENT_ID: Uuid = Uuid::from_u128(7);
const FRAME_OFFSET: u64 = 64;

fn event(number: usize) -> String {
    let now_ms = Timestamp::now().as_millisecond();
    format!(
        r#"{{"type":"track","name":"add_to_cart","id":"6f9d1c1e-6b5a-4f0b-a1de-{number:012x}","timestamp":{now_ms},"visitor_id":"a81f3c9e5d7b2460","url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","referrer":"https://www.google.com/","title":"copper 1204 | Millstream","properties":{{"sku":"copper-1204","price":59.90}},"screen":"1920x1080","language":"en-US"}}"#
    )
}

/// As the snippet sends it.
fn beacon() -> String {
    format!(r#"{{"key":"pk_Jm0tq4v7y1Bd8fHkNpRsUwXzA2cEgIiL","events":[{}]}}"#, event(0))
}

fn batch() -> String {
    let events: Vec<String> = (0..BATCH_EVENTS).map(event).collect();
    format!("[{}]", events.join(","))
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, events, body) in [("beacon", 1, beacon()), ("batch of 100", BATCH_EVENTS, batch())] {
        group.throughput(Throughput::Elements(events as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let text = std::str::from_utf8(black_box(body.as_bytes())).expect("UTF-8");
                let (text, _) = mend_escapes(text);
                let decoded = native::decode(&text, false).expect("JSON");
                assert_eq!(black_box(decoded).events.len(), events);
            });
        });
    }
    group.finish();
}

/// The event of [`event`] as other products' clients send it.
const OTHERS: [(&str, &str); 9] = [
    (
        "segment",
        r#"{"writeKey":"k","batch":[{"type":"track","event":"add_to_cart","messageId":"6f9d1c1e-6b5a-4f0b-a1de-0","timestamp":"2026-11-22T10:00:00.123Z","anonymousId":"a81f3c9e5d7b2460","properties":{"sku":"copper-1204","price":59.90},"context":{"page":{"url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","referrer":"https://www.google.com/","title":"copper 1204 | Millstream"},"locale":"en-US","library":{"name":"analytics.js","version":"1"}}}],"sentAt":"2026-11-22T10:00:00.200Z"}"#,
    ),
    (
        "posthog",
        r#"{"api_key":"k","batch":[{"uuid":"6f9d1c1e-6b5a-4f0b-a1de-0","event":"add_to_cart","timestamp":"2026-11-22T10:00:00.123Z","properties":{"token":"k","distinct_id":"a81f3c9e5d7b2460","$device_id":"a81f3c9e5d7b2460","$current_url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","$referrer":"https://www.google.com/","title":"copper 1204 | Millstream","$browser_language":"en-US","$screen_width":1920,"$screen_height":1080,"sku":"copper-1204","price":59.90}}],"sent_at":"2026-11-22T10:00:00.200Z"}"#,
    ),
    (
        "plausible",
        r#"{"n":"add_to_cart","u":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","d":"shop.millstream.example","r":"https://www.google.com/","p":{"sku":"copper-1204","price":59.90}}"#,
    ),
    (
        "umami",
        r#"{"type":"event","payload":{"website":"6f9d1c1e-6b5a-4f0b-a1de-0","hostname":"shop.millstream.example","url":"/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","referrer":"https://www.google.com/","title":"copper 1204 | Millstream","language":"en-US","screen":"1920x1080","name":"add_to_cart","data":{"sku":"copper-1204","price":59.90}}}"#,
    ),
    (
        "snowplow",
        r#"{"schema":"iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4","data":[{"e":"ue","eid":"6f9d1c1e-6b5a-4f0b-a1de-0","aid":"shop","p":"web","dtm":"1763805600123","stm":"1763805600200","url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","refr":"https://www.google.com/","page":"copper 1204 | Millstream","duid":"a81f3c9e5d7b2460","res":"1920x1080","lang":"en-US","ue_pr":"{\"schema\":\"iglu:x/unstruct_event/jsonschema/1-0-0\",\"data\":{\"schema\":\"iglu:com.acme/add_to_cart/jsonschema/1-0-0\",\"data\":{\"sku\":\"copper-1204\",\"price\":59.90}}}"}]}"#,
    ),
    (
        "matomo",
        "idsite=3&rec=1&url=https%3A%2F%2Fshop.millstream.example%2Fcollections%2Fcopper%2Fbasin-1204%3Futm_source%3Dnewsletter&action_name=copper+1204&urlref=https%3A%2F%2Fwww.google.com%2F&_id=a81f3c9e5d7b2460&e_c=shop&e_a=add_to_cart&e_v=59.90&res=1920x1080&lang=en-US",
    ),
    (
        "ga4",
        r#"{"client_id":"a81f3c9e5d7b2460","timestamp_micros":"1763805600123000","events":[{"name":"add_to_cart","params":{"page_location":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","page_referrer":"https://www.google.com/","page_title":"copper 1204 | Millstream","sku":"copper-1204","price":59.90,"language":"en-US"}}]}"#,
    ),
    (
        "cloudevents",
        r#"{"specversion":"1.0","id":"6f9d1c1e-6b5a-4f0b-a1de-0","source":"/shop","type":"add_to_cart","time":"2026-11-22T10:00:00.123Z","subject":"a81f3c9e5d7b2460","data":{"sku":"copper-1204","price":59.90,"url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email"}}"#,
    ),
    (
        "reload",
        r#"{"event_name":"add_to_cart","user_id":7,"anonymous_id":"a81f3c9e5d7b2460","sent_at":"1763805600123","url":"https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter&utm_medium=email","referrer":"https://www.google.com/","title":"copper 1204 | Millstream","sku":"copper-1204","price":59.90}"#,
    ),
];

fn translate<'a>(name: &str, body: &'a str, texts: &'a Texts) -> Translation<'a> {
    let translated = match name {
        "segment" => segment::translate(body, None, texts),
        "posthog" => posthog::unwrap(body, texts).and_then(|json| posthog::translate(json, texts)),
        "plausible" => plausible::translate(body, texts),
        "umami" => umami::translate(body, texts),
        "snowplow" => snowplow::translate(body, texts),
        "matomo" => Ok(matomo::translate_query("", body, texts)),
        "ga4" => ga4::translate("measurement_id=G-1", body, texts),
        "cloudevents" => cloudevents::translate(body, texts),
        _ => reload::translate(body, reload::Shape::Event, texts),
    };
    translated.expect(name)
}

/// Beside `decode/beacon`, the same event in weir's own format.
fn decode_others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode another format");
    for (name, body) in OTHERS {
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let text = std::str::from_utf8(black_box(body.as_bytes())).expect("UTF-8");
                let (text, _) = mend_escapes(text);
                let texts = Texts::default();
                let decoded = translate(name, &text, &texts).decode().expect(name);
                assert!(black_box(decoded).events[0].is_ok(), "{name}");
            });
        });
    }
    group.finish();
}

/// Everything that enriching needs, with the user agent known already.
struct Enriching {
    enricher: Enricher,
    key: WriteKey,
    request: RequestFacts<'static>,
}

impl Enriching {
    fn new() -> Self {
        let enriching = Self {
            enricher: Enricher {
                privacy: Config::default().privacy,
                user_agents: UserAgents::start(None, 100, &Metrics::new()).expect("built-in patterns"),
                places: Arc::new(Places::open(None).expect("no file")),
                salts: Arc::new(Salts::new().expect("random bytes")),
            },
            key: WriteKey::new("web".into(), KeyKind::Public, Arc::default()),
            request: RequestFacts {
                received_at: Timestamp::now(),
                ip: Some(IpAddr::from([203, 0, 113, 7])),
                user_agent: Some(USER_AGENT),
                accept_language: Some("en-US,en;q=0.9"),
                ..RequestFacts::default()
            },
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let known = runtime.block_on(enriching.enricher.user_agents.look_up(USER_AGENT));
        assert!(known.is_some());
        enriching
    }

    /// Appends the tuple of `event` to `tuples`.
    fn encode(&self, event: &Event<'_>, tuples: &mut Vec<u8>) {
        let agent = self
            .enricher
            .agent(event, self.key.kind, &self.request)
            .now_or_never()
            .expect("a known user agent is not waited for");
        self.enricher.encode(event, &self.key, &self.request, agent.as_deref(), tuples).expect("accepted");
    }
}

fn enrich(criterion: &mut Criterion) {
    let enriching = Enriching::new();
    let body = beacon();
    let decoded = native::decode(&body, false).expect("JSON");
    let event = decoded.events[0].as_ref().expect("accepted");
    let mut tuples = Vec::new();
    criterion.bench_function("enrich and encode, user agent known", |bencher| {
        bencher.iter(|| {
            tuples.clear();
            enriching.encode(black_box(event), &mut tuples);
        });
    });
}

fn encode(criterion: &mut Criterion) {
    let now = Timestamp::now();
    let row = Row {
        event_id: Uuid::from_u128(1),
        occurred_at: now,
        received_at: now,
        source: "web",
        kind: "track",
        name: Some("add_to_cart"),
        visitor_id: Some("a81f3c9e5d7b2460"),
        url: Some("https://shop.millstream.example/collections/copper/basin-1204?utm_source=newsletter"),
        host: Some("shop.millstream.example"),
        path: Some("/collections/copper/basin-1204"),
        query: Some("utm_source=newsletter"),
        title: Some("copper 1204 | Millstream"),
        referrer: Some("https://www.google.com/"),
        referrer_host: Some("www.google.com"),
        utm_source: Some("newsletter"),
        ip: Some((IpAddr::from([203, 0, 113, 0]), 24)),
        browser: Some("Chrome"),
        browser_version: Some("142.0.0"),
        os: Some("Windows"),
        os_version: Some("10"),
        language: Some("en-US"),
        screen: Some("1920x1080"),
        properties: Some(r#"{"sku":"copper-1204","price":59.90}"#),
        ..Row::default()
    };
    let mut tuple = Vec::new();
    criterion.bench_function("encode a row", |bencher| {
        bencher.iter(|| {
            tuple.clear();
            black_box(&row).encode(&mut tuple);
        });
    });
}

/// The tuples of a batch, each as its request would hand it over.
fn tuples() -> Vec<Vec<u8>> {
    let enriching = Enriching::new();
    let body = batch();
    let decoded = native::decode(&body, false).expect("JSON");
    let tuple = |event: &Event<'_>| {
        let mut tuple = Vec::new();
        enriching.encode(event, &mut tuple);
        tuple
    };
    decoded.events.iter().map(|event| tuple(event.as_ref().expect("accepted"))).collect()
}

fn build<'a>(builder: &'a mut FrameBuilder, tuples: &[Vec<u8>]) -> &'a [u8] {
    let count = tuples.len() as u32;
    builder.start(std::iter::once(SourceCount { source: "web", accepted: count, duplicate: 0 }));
    for tuple in tuples {
        builder.tuples(tuple);
    }
    let today = day_of(Timestamp::UNIX_EPOCH);
    builder.finish(SEGMENT_ID, FRAME_OFFSET, count, 0, (today, today)).0
}

fn frame(criterion: &mut Criterion) {
    let tuples = tuples();
    let mut builder = FrameBuilder::default();
    let built = build(&mut builder, &tuples).to_vec();
    let mut group = criterion.benchmark_group("frame of 100 tuples");
    group.throughput(Throughput::Bytes(built.len() as u64));
    group.bench_function("build", |bencher| {
        bencher.iter(|| black_box(build(&mut builder, black_box(&tuples))).len());
    });
    group.bench_function("check", |bencher| {
        bencher.iter(|| {
            let frame = Frame::decode(SEGMENT_ID, FRAME_OFFSET, black_box(&built)).expect("valid");
            assert_eq!(frame.header.tuples as usize, BATCH_EVENTS);
        });
    });
    group.bench_function("split into tuples", |bencher| {
        bencher.iter(|| {
            let frame = Frame::decode(SEGMENT_ID, FRAME_OFFSET, &built).expect("valid");
            let mut rest = black_box(frame.tuples);
            while !rest.is_empty() {
                rest = &rest[row::tuple_length(rest).expect("a tuple")..];
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode, decode_others, enrich, encode, frame);
criterion_main!(benches);
