//! Every question of `docs/cookbook.md`, asked as a person's role over a month of a small company of which all is known.
//!
//! Five users, five visitors, two campaigns; events come by HTTP, other services' rows by Singer's messages. The answers were counted
//! by hand from what stands here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokio_postgres::{Client, SimpleQueryMessage};
use weir::analyst::grant::{self, To};
use weir::config::Config;
use weir::console::run::statements;
use weir::database::Database;
use weir::rollup::library::Library;
use weir::sources;
use weir::sync::settings::Singer;
use weir::sync::singer::run;

use crate::support::people::{self, PASSWORD};
use crate::support::rollups::{define, engine, settle};
use crate::support::{TestCollector, TestDatabase, collector, connect, eventually, http};

/// A Monday, and four weeks later.
const SINCE: &str = "2026-03-02";
const UNTIL: &str = "2026-03-30";
/// What questions may look at besides: three months before, two weeks after.
const FIRST_DAY: &str = "20251202";
const LAST_DAY: &str = "20260413";

const DESKTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// The answers, in the page's order: columns parted by `|`, NULL as nothing.
#[rustfmt::skip]
const ANSWERS: [&[&str]; 30] = [
    /*  1 days */ &["2026-03-02|1|1|2", "2026-03-03|2|2|4", "2026-03-04|1|1|2", "2026-03-09|1|1|2", "2026-03-10|1|1|1", "2026-03-12|1|1|1"],
    /*  2 sources */ &["direct|2|28.6|0.0", "google|2|28.6|0.0", "google.com|1|14.3|0.0", "news.example|1|14.3|100.0", "newsletter|1|14.3|0.0"],
    /*  3 campaigns */ &["brand|cpc|2|2.0", "spring|email|1|2.0"],
    /*  4 pages */ &["/|4|4|1|25.0", "/pricing|3|2|1|0.0", "/signup|3|1|3|0.0", "/blog/joins|1|0|1|", "/docs|1|0|1|"],
    /*  5 systems */ &["browser|Firefox|6|85.7", "browser|Mobile Safari|1|14.3", "os|Linux|6|85.7", "os|iOS|1|14.3"],
    /*  6 funnel */ &["1|/pricing|3|100.0", "2|/signup|2|66.7", "3|signup|2|66.7"],
    /*  7 sign-ups */ &["2026-03-02|free|1", "2026-03-02|team|1", "2026-03-09|team|1", "2026-03-16|(none)|1"],
    /*  8 first touch */ &["direct||1", "google|brand|1", "google.com||1", "unknown||1"],
    /*  9 last touch */ &["direct||1", "google|brand|1", "newsletter|spring|1", "unknown||1"],
    /* 10 read before */ &["/|3", "/pricing|2", "/blog/joins|1", "/docs|1"],
    /* 11 activation */ &["2026-03-02|2|1|50.0", "2026-03-09|1|1|100.0", "2026-03-16|1|0|0.0"],
    /* 12 time to value */ &["3|1.0|193.0"],
    /* 13 retention */ &["2026-03-02|0|2|100.0", "2026-03-02|1|2|100.0", "2026-03-02|2|1|50.0", "2026-03-02|3|1|50.0",
                         "2026-03-09|0|1|100.0", "2026-03-09|1|1|100.0", "2026-03-09|2|1|100.0", "2026-03-16|0|1|100.0"],
    /* 14 active */ &["2026-03-08|2|2|100.0", "2026-03-15|3|3|100.0", "2026-03-22|3|4|75.0", "2026-03-29|2|4|50.0"],
    /* 15 features */ &["report_viewed|7|3|100.0", "project_created|3|3|100.0", "export|1|1|33.3"],
    /* 16 power users */ &["ann@acme.example|5|6", "cleo@acme.example|3|3"],
    /* 17 quiet */ &["ben@solo.example|2026-03-13|17"],
    /* 18 one person */ &["2026-03-03 11:00:00+00|web|page|/", "2026-03-03 11:01:00+00|web|page|/pricing",
                          "2026-03-03 11:01:30+00|web|track|experiment_viewed", "2026-03-03 11:01:40+00|web|track|js_error",
                          "2026-03-03 11:02:00+00|web|page|/signup", "2026-03-03 11:03:00+00|web|track|signup",
                          "2026-03-05 09:00:00+00|app|track|report_viewed", "2026-03-13 12:00:00+00|app|track|project_created"],
    /* 19 experiment */ &["A|2|1|50.0|69.3", "B|2|2|100.0|0.0"],
    /* 20 revenue */ &["direct||1|99.00", "google.com||1|49.00", "unknown||1|20.00", "google|brand|1|19.00"],
    /* 21 MRR */ &["direct|1|99.00", "google.com|1|98.00", "google|1|19.00"],
    /* 22 cost */ &["banner|40.00|0||0.00", "brand|50.00|1|50.00|19.00", "spring|10.00|1|10.00|49.00"],
    /* 23 nobody */ &["banner|40.00"],
    /* 24 pays and is gone */ &["ben@solo.example|month|2026-03-13"],
    /* 25 support */ &["ben@solo.example|1|t|1|1", "cleo@acme.example|1|f|1|2"],
    /* 26 deals */ &["Acme, team|12000|2|2", "Beta, trial|5000|1|0"],
    /* 27 vitals */ &["/|4|2400|200|0.05", "/pricing|2|1100|60|0"],
    /* 28 errors */ &["/pricing|x is undefined|2|2"],
    /* 29 missing */ &["2026-03-03|1|1|", "2026-03-04|1|1|", "2026-03-12|1|1|", "2026-03-18|1|1|", "2026-03-20|1|0|{5}"],
    /* 30 quality */ &["hours since an event of app|0", "hours since an event of web|0", "hours since an invoice of Stripe|0",
                       "percent of page views by robots|8", "percent of sign-ups without a plan|25"],
];

/// An event of the site: at a moment of March, by a visitor.
fn site(at: &str, visitor: &str, kind: &str, url: &str, more: &Value) -> Value {
    let mut event = json!({
        "type": kind, "timestamp": format!("2026-03-{at}Z"), "id": format!("{at} {visitor} {kind}"), "visitor_id": visitor,
        "url": format!("https://shop.example{url}"), "user_agent": DESKTOP,
    });
    let members = event.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    event
}

/// What a page tells of itself, and what its visitors do in it.
fn named(at: &str, visitor: &str, url: &str, name: &str, properties: &Value) -> Value {
    site(at, visitor, "track", url, &json!({"name": name, "properties": properties}))
}

fn vitals(at: &str, visitor: &str, url: &str, measured: &Value) -> Value {
    site(at, visitor, "web_vitals", url, &json!({"name": "web_vitals", "properties": measured}))
}

fn signup(at: &str, visitor: &str, user: &str, plan: &str) -> Value {
    let more = json!({"name": "signup", "user_id": user, "properties": {"plan": plan}});
    site(at, visitor, "track", "/signup", &more)
}

/// The site's events: five visitors, a robot, and somebody long before.
fn of_the_site() -> Vec<Value> {
    let none = json!({});
    let seen = |variant: &str| json!({"experiment": "pricing-page", "variant": variant});
    let page = |at: &str, visitor: &str, url: &str| site(at, visitor, "page", url, &none);
    let spring = "/pricing?utm_source=newsletter&utm_medium=email&utm_campaign=spring";
    let (brand, brand_pricing) = (
        "/?utm_source=google&utm_medium=cpc&utm_campaign=brand",
        "/pricing?utm_source=google&utm_medium=cpc&utm_campaign=brand",
    );
    let error = json!({"message": "x is undefined", "at": "/app.js"});
    vec![
        // Ann: by a search, and two days later by the newsletter.
        site("02T09:00:00", "v1", "page", "/", &json!({"referrer": "https://www.google.com/"})),
        vitals("02T09:04:00", "v1", "/", &json!({"lcp": 1200, "inp": 80, "cls": 0.01})),
        page("02T09:05:00", "v1", "/blog/joins"),
        page("04T10:00:00", "v1", spring),
        named("04T10:00:30", "v1", "/pricing", "experiment_viewed", &seen("A")),
        named("04T10:01:00", "v1", "/pricing", "js_error", &error),
        vitals("04T10:01:30", "v1", "/pricing", &json!({"lcp": 900, "inp": 60, "cls": 0})),
        page("04T10:02:00", "v1", "/signup"),
        signup("04T10:04:00", "v1", "1", "team"),
        // Ben: by an advertisement, at once.
        page("03T11:00:00", "v2", brand),
        vitals("03T11:00:50", "v2", "/", &json!({"lcp": 2400, "inp": 120, "cls": 0.02})),
        page("03T11:01:00", "v2", "/pricing"),
        named("03T11:01:30", "v2", "/pricing", "experiment_viewed", &seen("B")),
        named("03T11:01:40", "v2", "/pricing", "js_error", &error),
        vitals("03T11:01:50", "v2", "/pricing", &json!({"lcp": 1100, "inp": "fast"})),
        page("03T11:02:00", "v2", "/signup"),
        signup("03T11:03:00", "v2", "2", "free"),
        // Cleo: nobody knows by what, twice.
        page("09T08:00:00", "v3", "/"),
        vitals("09T08:01:00", "v3", "/", &json!({"lcp": 1800, "inp": 200, "cls": 0.05})),
        named("09T08:02:00", "v3", "/", "experiment_viewed", &seen("B")),
        page("09T08:03:00", "v3", "/docs"),
        page("12T15:00:00", "v3", "/signup"),
        signup("12T15:02:00", "v3", "3", "team"),
        // Two who stay unknown.
        page("03T20:00:00", "v4", brand_pricing),
        named("03T20:00:30", "v4", "/pricing", "experiment_viewed", &seen("A")),
        site("10T21:00:00", "v5", "page", "/", &json!({"referrer": "https://news.example/1", "user_agent": PHONE})),
        vitals("10T21:00:20", "v5", "/", &json!({"lcp": 4100, "inp": 350, "cls": 0.3})),
        site("02T03:00:00", "robot", "page", "/", &json!({"user_agent": ROBOT})),
        json!({"name": "signup", "id": "old", "timestamp": "2025-11-15T10:00:00Z", "visitor_id": "v1", "user_id": "99"}),
    ]
}

/// Those of the product's backend, which knows users only.
fn of_the_product() -> Vec<Value> {
    [
        ("04T10:30", "1", "project_created"),
        ("05T09:00", "1", "report_viewed"),
        ("10T09:00", "1", "report_viewed"),
        ("17T09:00", "1", "report_viewed"),
        ("24T09:00", "1", "report_viewed"),
        ("24T09:30", "1", "export"),
        ("05T09:00", "2", "report_viewed"),
        ("13T12:00", "2", "project_created"),
        ("12T16:02", "3", "project_created"),
        ("16T09:00", "3", "report_viewed"),
        ("26T09:00", "3", "report_viewed"),
        // Dan's browser blocks the snippet: the backend tells alone, and forgets the plan.
        ("18T09:00", "4", "signup"),
    ]
    .iter()
    .map(|(at, user, name)| {
        json!({"name": name, "user_id": user, "timestamp": format!("2026-03-{at}:00Z"), "id": format!("{at} {user}")})
    })
    .collect()
}

/// A stream of another service, with the types of its tap, as Singer's messages.
fn stream(name: &str, types: &[(&str, &str)], rows: &[Value]) -> Vec<Value> {
    let properties: serde_json::Map<String, Value> = types
        .iter()
        .map(|(column, kind)| {
            let of = match *kind {
                "date-time" => json!({"type": ["null", "string"], "format": "date-time"}),
                kind => json!({"type": ["null", kind]}),
            };
            ((*column).to_owned(), of)
        })
        .collect();
    let key = types.first().expect("a column").0;
    let schema =
        json!({"type": "SCHEMA", "stream": name, "schema": {"properties": properties}, "key_properties": [key]});
    let records = rows.iter().map(|row| {
        let record: serde_json::Map<String, Value> = types
            .iter()
            .zip(row.as_array().expect("a row"))
            .map(|((name, _), v)| ((*name).to_owned(), v.clone()))
            .collect();
        json!({"type": "RECORD", "stream": name, "record": record})
    });
    std::iter::once(schema).chain(records).collect()
}

async fn load(weir: &Database, schema: &str, streams: Vec<Vec<Value>>) {
    let input: String = streams.into_iter().flatten().map(|message| format!("{message}\n")).collect();
    let loaded = run::load(weir, schema, schema, &Singer::default(), input.as_bytes(), |_| Ok(())).await;
    assert_eq!(loaded.expect("loaded").rejected, 0, "{schema}");
}

/// What the application and three services know.
async fn load_others(weir: &Database) {
    let march = |at: &str| json!(format!("2026-03-{at}:00Z"));
    let users = [("integer", "id"), ("string", "email"), ("date-time", "created_at")].map(|(kind, name)| (name, kind));
    let rows = [
        json!([1, "ann@acme.example", march("04T10:04")]),
        json!([2, "ben@solo.example", march("03T11:03")]),
        json!([3, "cleo@acme.example", march("12T15:02")]),
        json!([4, "dan@solo.example", march("18T09:00")]),
        json!([5, "eve@beta.example", march("20T10:00")]),
    ];
    load(weir, "app", vec![stream("users", &users, &rows)]).await;

    let customers = [("id", "string"), ("email", "string"), ("metadata", "object")];
    let invoices = [
        ("id", "string"),
        ("customer", "string"),
        ("status", "string"),
        ("amount_paid", "integer"),
        ("created", "date-time"),
    ];
    let subscriptions =
        [("id", "string"), ("customer", "string"), ("status", "string"), ("quantity", "integer"), ("plan", "object")];
    let plan = |amount: i64, interval: &str| json!({"amount": amount, "interval": interval});
    let stripe = vec![
        stream(
            "customers",
            &customers,
            &[
                json!(["cus_1", "ann@acme.example", {"user_id": "1"}]),
                json!(["cus_2", "ben@solo.example", {"user_id": "2"}]),
                json!(["cus_3", "cleo@acme.example", {"user_id": "3"}]),
                json!(["cus_4", "dan@solo.example", {"user_id": "4"}]),
            ],
        ),
        stream(
            "invoices",
            &invoices,
            &[
                json!(["in_1", "cus_1", "paid", 4_900, march("04T10:10")]),
                json!(["in_2", "cus_2", "paid", 1_900, march("20T10:00")]),
                json!(["in_3", "cus_3", "paid", 9_900, march("12T15:10")]),
                json!(["in_4", "cus_3", "open", 0, march("25T10:00")]),
                json!(["in_5", "cus_4", "paid", 2_000, march("21T10:00")]),
                json!(["in_6", "cus_1", "paid", 4_900, "2026-04-04T10:00:00Z"]),
            ],
        ),
        stream(
            "subscriptions",
            &subscriptions,
            &[
                json!(["sub_1", "cus_1", "active", 2, plan(4_900, "month")]),
                json!(["sub_2", "cus_2", "active", 1, plan(1_900, "month")]),
                json!(["sub_3", "cus_3", "active", 1, plan(118_800, "year")]),
                json!(["sub_4", "cus_4", "canceled", 1, plan(2_000, "month")]),
            ],
        ),
    ];
    load(weir, "stripe", stripe).await;

    let contacts = [("id", "string"), ("external_id", "string")];
    let conversations = [("id", "string"), ("created_at", "date-time"), ("state", "string"), ("contacts", "array")];
    let of = |contact: &str| json!([{"type": "contact", "id": contact}]);
    let intercom = vec![
        stream("contacts", &contacts, &[json!(["c2", "2"]), json!(["c3", "3"])]),
        stream(
            "conversations",
            &conversations,
            &[
                json!(["1", march("06T15:00"), "open", of("c2")]),
                json!(["2", march("15T10:00"), "closed", of("c3")]),
                json!(["3", "2026-02-01T10:00:00Z", "closed", of("c3")]),
            ],
        ),
    ];
    load(weir, "intercom", intercom).await;

    let accounts = [("Id", "string"), ("Name", "string"), ("Website", "string")];
    let deals =
        [("Id", "string"), ("AccountId", "string"), ("Name", "string"), ("Amount", "number"), ("IsClosed", "boolean")];
    let salesforce = vec![
        stream(
            "Account",
            &accounts,
            &[json!(["a1", "Acme", "https://www.acme.example/about"]), json!(["a2", "Beta", "beta.example"])],
        ),
        stream(
            "Opportunity",
            &deals,
            &[
                json!(["o1", "a1", "Acme, team", 12_000, false]),
                json!(["o2", "a2", "Beta, trial", 5_000, false]),
                json!(["o3", "a1", "Acme, last year", 9_000, true]),
            ],
        ),
    ];
    load(weir, "salesforce", salesforce).await;
}

async fn send(collector: &TestCollector, key: &str, events: &[Value]) {
    let key = format!("authorization: Bearer {key}");
    let body = Value::from(events).to_string();
    let answer = http::post(collector.address, "/v1/events", &[&key], body.as_bytes()).await;
    assert_eq!(answer.json()["accepted"], events.len(), "{}", answer.text());
}

/// Rollups, services and events; returns who asks.
async fn company() -> (TestDatabase, TestCollector, tempfile::TempDir, Client) {
    let (database, collector, journal) = collector(|_| {}).await;
    let mut settings = Config::default().database;
    settings.url.clone_from(&database.url);
    let weir = Database::new(&settings, 2).expect("a valid URL");
    let app = sources::add(&weir, "app", &[]).await.expect("added").secret_key;
    let (site, product) = (of_the_site(), of_the_product());
    send(&collector, &collector.keys.secret_key, &site).await;
    let key = format!("authorization: Bearer {app}");
    eventually("the new key works", async || {
        http::post(collector.address, "/v1/validate", &[&key], br#"{"name":"a"}"#).await.status == 200
    })
    .await;
    send(&collector, &app, &product).await;
    load_others(&weir).await;
    let alice = people::role(&database, "alice", false).await;
    let analyst = people::admin_settings(&database);
    for schema in ["app", "stripe", "intercom", "salesforce"] {
        grant::grant(&weir, &analyst, To::Person(&alice), schema).await.expect("granted");
    }
    database.until_stored((site.len() + product.len()) as i64).await;
    let engine = engine(&database).await;
    define(&engine, &Library { dir: "/nowhere".into(), with_shipped: true }).await;
    settle(&engine).await;
    let url = database.url.replacen(
        &format!("{}:secret", database.name),
        &format!("{alice}:{}", PASSWORD.replace(' ', "%20")),
        1,
    );
    let alice = connect(&url).await;
    let own = "set timezone = 'UTC'; create table ad_spend (day date, campaign text, cost numeric);
        insert into ad_spend values ('2026-03-03', 'brand', 30.00), ('2026-03-10', 'brand', 20.00), ('2026-02-20', 'brand', 99),
                                    ('2026-03-04', 'spring', 10.00), ('2026-03-05', 'banner', 40.00)";
    alice.batch_execute(own).await.expect("made");
    (database, collector, journal, alice)
}

/// What a page of the documentation says.
fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    std::fs::read_to_string(path).expect(name)
}

/// The page's questions, each with its statement.
fn questions() -> Vec<(String, String)> {
    let page = page("cookbook.md");
    let parts = page.split("\n### ").skip(1);
    let question = |part: &str| {
        let (title, rest) = part.split_once('\n').expect("a heading");
        let (_, sql) = rest.split_once("```sql\n").unwrap_or_else(|| panic!("{title} has no SQL"));
        let (sql, after) = sql.split_once("```").expect("the end of the SQL");
        assert!(!after.contains("```"), "{title} has two statements");
        (title.to_owned(), sql.to_owned())
    };
    parts.map(question).collect()
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|column| row.get(column).unwrap_or("")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_question_has_its_answer() {
    let (_database, collector, _journal, alice) = company().await;
    let values: BTreeMap<String, String> =
        [("since", SINCE), ("until", UNTIL), ("user", "2"), ("experiment", "pricing-page")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    let questions = questions();
    assert_eq!(questions.len(), ANSWERS.len());
    let mut wrong = Vec::new();
    for (number, ((title, sql), expected)) in questions.iter().zip(ANSWERS).enumerate() {
        assert!(title.starts_with(&format!("{}. ", number + 1)), "{title}");
        // As the console puts values in.
        let statements = statements::parse(sql, &values).expect(title);
        let [statement] = &statements[..] else { panic!("{title}: one statement") };
        assert!(statement.is_plain_read, "{title} only reads");
        let found = rows(&alice, &statement.text).await;
        if found != expected {
            wrong.push(format!("{title}\n  found    {found:?}\n  expected {expected:?}"));
        }
        let plan = rows(&alice, &format!("explain (costs off) {}", statement.text)).await.join("\n");
        for (at, _) in plan.match_indices("on events_20") {
            let day = &plan[at + "on events_".len()..][..8];
            if !(FIRST_DAY..=LAST_DAY).contains(&day) {
                wrong.push(format!("{title} reads the day {day}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // What a newcomer is told to try runs, too, before any of that has come.
    let quickstart = page("quickstart-analyst.md");
    let tried: Vec<&str> = quickstart.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(tried.len(), 5);
    for sql in tried {
        rows(&alice, sql).await;
    }
    assert_eq!(rows(&alice, "select count(*) from weekly").await, ["0"]);
    collector.stop().await;
}
