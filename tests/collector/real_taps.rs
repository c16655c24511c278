//! Taps as they are published on PyPI, end to end: `weir sync add` discovers and selects, `weir sync run` reads, and reads
//! again from where it was; then the tables are looked at.
//!
//! The services that they read are stood in for by `tests/taps`; `make test` makes the taps' environments.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::taps::{Source, StandIn, environment, finished};

const DAY_S: i64 = 86_400;

/// RFC 3339, so many days before the stand-in's now.
fn days_before(stand_in: &StandIn, days: i64) -> String {
    jiff::Timestamp::from_second(stand_in.now - days * DAY_S).expect("a time").to_string()
}

fn stripe_settings(stand_in: &StandIn) -> Value {
    json!({"client_secret": "sk_test_secret", "account_id": "acct_1", "start_date": days_before(stand_in, 20)})
}

const STRIPE_STREAMS: [&str; 4] = ["customers", "invoices", "invoice_line_items", "events"];

#[tokio::test(flavor = "multi_thread")]
async fn stripe() {
    let Some(tap) = environment("tap-stripe") else { return };
    let stand_in = StandIn::start(&tap.join("bin/python")).await;
    let source = Source::wrapped("stripe", &tap, "tap_stripe", &stand_in).await;
    source.add(&stripe_settings(&stand_in), &STRIPE_STREAMS).await;
    // Customers, three of them also as events of a change; invoices with their lines; and the events themselves.
    assert_eq!(source.run().await, 260 + 3 + 12 + 38 + 3);
    let counts = "select (select count(*) from stripe.customers), (select count(*) from stripe.invoices),
                         (select count(*) from stripe.invoice_line_items), (select count(*) from stripe.events)";
    assert_eq!(source.rows(counts).await, ["260|12|38|3"]);
    let created = format!(
        "select count(*) from stripe.customers where extract(epoch from created) <> {} + 60 * right(id, 5)::int",
        stand_in.now - 10 * DAY_S
    );
    assert_eq!(source.rows(&created).await, ["0"]);
    let customer =
        "select name, balance, delinquent, phone, preferred_locales, sources->0->>'last4', metadata->>'seats'
                      from stripe.customers where id in ('cus_00002', 'cus_00005') order by id";
    let expected = ["Renamed 2|-2|f||[\"de\", \"en-GB\"]||2", "Zoë \"5\" \\ O'Neil\n|-5|f||[\"de\", \"en-GB\"]|4242|5"];
    assert_eq!(source.rows(customer).await, expected);
    let flat = "select address_city, invoice_settings_default_payment_method from stripe.customers_flat where id = 'cus_00007'";
    assert_eq!(source.rows(flat).await, ["Köln|pm_7"]);
    // A list of sources, or one source: the schema allows both.
    let sources = "select f.sources->0->>'brand', l._index, l.last4, l.exp_year from stripe.customers_flat f
                     join stripe.customers__sources l using (id) where id = 'cus_00005'";
    assert_eq!(source.rows(sources).await, ["Visa|1|4242|2030"]);
    let items = "select _index, amount, inclusive, tax_rate from stripe.invoices__total_tax_amounts where id = 'in_00004' order by 1";
    assert_eq!(source.rows(items).await, ["1|640|f|txr_1", "2|0|t|txr_2"]);
    let paid = "select status_transitions_paid_at - created, status_transitions_voided_at, jsonb_array_length(lines)
                  from stripe.invoices_flat where id = 'in_00004'";
    assert_eq!(source.rows(paid).await, ["00:01:00||2"]);
    // The tap asks for those that the invoice does not show.
    let lines = "select count(*), sum(amount) from stripe.invoice_line_items where invoice = 'in_00000'";
    assert_eq!(source.rows(lines).await, ["15|10515"]);
    let log = source.weir(&["sync", "log", "stripe"], None).await;
    assert!(log.contains("Stand-in") && !log.contains("sk_test"), "{log}");

    stand_in.next().await;
    // One new customer and two changed ones, all three also as events.
    assert_eq!(source.run().await, 1 + 3 + 3);
    assert_eq!(source.rows(counts).await, ["261|12|38|6"]);
    let names = "select name, updated_by_event_type from stripe.customers where id in ('cus_00000', 'cus_00001', 'cus_00200') order by id";
    let expected =
        ["Renamed again 0|customer.updated", "Renamed 1|customer.updated", "Renamed again 200|customer.updated"];
    assert_eq!(source.rows(names).await, expected);
}

/// The same output into weir and into MeltanoLabs' target-postgres: no value differs.
#[tokio::test(flavor = "multi_thread")]
async fn another_target_makes_the_same_of_it() {
    let (Some(stripe), Some(target)) = (environment("tap-stripe"), environment("target-postgres")) else { return };
    let stand_in = StandIn::start(&stripe.join("bin/python")).await;
    let source = Source::wrapped("stripe", &stripe, "tap_stripe", &stand_in).await;
    source.add(&stripe_settings(&stand_in), &STRIPE_STREAMS).await;
    let output = source.output().await;
    source.weir(&["sync", "load", "stripe"], Some(&output)).await;
    into_other(&source, &target, &output).await;
    for (table, key) in
        [("customers", "id"), ("invoices", "id"), ("invoice_line_items", "id, invoice"), ("events", "id")]
    {
        let columns = columns(&source, table).await;
        assert!(columns.len() > 8, "{columns:?}");
        assert_eq!(different(&source, table, key, &columns).await, Vec::<String>::new(), "{table}");
    }
    assert_eq!(source.rows("select count(*) from stripe.customers").await, ["260"]);

    // By hand, as these taps write all times in UTC.
    let source = Source::of("files", PathBuf::new()).await;
    let kinds = json!({"id": {"type": "integer"}, "at": {"type": "string", "format": "date-time"}, "n": {"type": "number"},
                       "flag": {"type": ["boolean", "null"]}, "list": {"type": "array"}, "nested": {"type": "object"}, "text": {"type": "string"}});
    let record = |record: Value| json!({"type": "RECORD", "stream": "t", "record": record});
    let lines = [
        json!({"type": "SCHEMA", "stream": "t", "schema": {"properties": kinds}, "key_properties": ["id"]}),
        record(
            json!({"id": 1, "at": "2026-01-01T00:00:00+05:00", "n": 1.5, "flag": true, "list": ["a", null], "nested": {"a": [null]},
                      "text": "\\ \"\t\n'"}),
        ),
        record(
            json!({"id": 2, "at": "2026-01-01T00:00:00Z", "n": 0.1, "flag": null, "list": [], "nested": {}, "text": ""}),
        ),
    ];
    write_lines(&source, "output", &lines);
    let output = source.file("output");
    source.weir(&["sync", "load", "files"], Some(&output)).await;
    into_other(&source, &target, &output).await;
    let columns = columns(&source, "t").await;
    assert_eq!(columns.len(), 7);
    assert_eq!(different(&source, "t", "id", &columns).await, Vec::<String>::new());
    let at = "select f.at, o.at from files.t f join other.t o using (id) where id = 1";
    assert_eq!(source.rows(at).await, ["2025-12-31 19:00:00+00|2025-12-31 19:00:00"]);
    // And it would be seen.
    source.database.client.batch_execute("update other.t set n = n + 1 where id = 2").await.expect("changed");
    assert_eq!(different(&source, "t", "id", &columns).await, ["n"]);
}

async fn into_other(source: &Source, target: &Path, output: &Path) {
    // Its columns of times have no zone, and the session's is what it converts to.
    let zone = format!("alter database {} set timezone = 'UTC'", source.database.name);
    source.database.client.batch_execute(&zone).await.expect("set");
    let url = source.database.url.replacen("postgres:", "postgresql+psycopg:", 1);
    let config = source.file("target.json");
    fs::write(&config, json!({"sqlalchemy_url": url, "default_target_schema": "other"}).to_string()).expect("written");
    let mut command = Command::new(target.join("bin/target-postgres"));
    command.arg("--config").arg(config).stdin(Stdio::from(fs::File::open(output).expect("there")));
    finished(command).await;
}

/// Those of properties.
async fn columns(source: &Source, table: &str) -> Vec<String> {
    let sql = "select column_name from information_schema.columns
                where table_schema = '{}' and table_name = '{}' and column_name !~ '^_' order by 1";
    source.rows(&sql.replacen("{}", source.name, 1).replacen("{}", table, 1)).await
}

/// The columns in which the two tables differ. The other one writes JSON's null where there is nothing.
async fn different(source: &Source, table: &str, key: &str, columns: &[String]) -> Vec<String> {
    let name = source.name;
    let mut different = Vec::new();
    for column in columns {
        let sql = format!(
            "set timezone = 'UTC'; select count(*) from {name}.{table} w full join other.{table} o using ({key})
              where coalesce(to_jsonb(w.\"{column}\"), 'null') <> coalesce(to_jsonb(o.\"{column}\"), 'null')"
        );
        let is_time = format!(
            "select format_type(atttypid, -1) = 'timestamp with time zone' from pg_attribute
              where attrelid = '{name}.{table}'::regclass and attname = '{column}'"
        );
        let sql = if source.rows(&is_time).await == ["t"] {
            sql.replace(&format!("o.\"{column}\""), &format!("o.\"{column}\" at time zone 'UTC'"))
        } else {
            sql
        };
        if source.database.rows(&sql).await != ["0"] {
            different.push(column.clone());
        }
    }
    different
}

fn write_lines(source: &Source, file: &str, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(source.file(file), text).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_rest_api() {
    let Some(tap) = environment("tap-rest-api-msdk") else { return };
    let stand_in = StandIn::start(&tap.join("bin/python")).await;
    let source = Source::of("shop", tap.join("bin/tap-rest-api-msdk")).await;
    let stream = json!({"name": "orders", "path": "/orders", "records_path": "$.data[*]", "primary_keys": ["id"]});
    source.add(&json!({"api_url": stand_in.url(), "streams": [stream]}), &[]).await;
    assert_eq!(source.run().await, 120);
    stand_in.next().await;
    assert_eq!(source.run().await, 122);
    assert_eq!(
        source.rows("select count(*), count(distinct id), sum(total) from shop.orders").await,
        ["122|122|922.625"]
    );
    // The tap itself takes nested data apart, and guesses no format of a text.
    let order =
        "select placed_at, paid, customer_name, customer_tags::jsonb->>1, note is null from shop.orders where id = 4";
    assert_eq!(source.rows(order).await, ["2026-01-01T04:00:00+05:00|t|Zoë \"4\"|4|t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_postgres() {
    let Some(tap) = environment("tap-postgres") else { return };
    let source = Source::of("pg", tap.join("bin/tap-postgres")).await;
    let client = &source.database.client;
    client
        .batch_execute(
            r#"create schema app;
               create type app.mood as enum ('good', 'bad');
               create table app.things (id bigint primary key, at timestamptz, at_local timestamp, day date, clock time, n numeric,
                   n2 numeric(40, 10), small smallint, r real, d double precision, doc jsonb, tags text[], nums int[], flag boolean,
                   u uuid, m app.mood, b bytea, t text, v varchar(10), net inet, "Camel Case" int);
               insert into app.things values
                   (1, '2026-01-01 00:00:00.123456+05', '2026-01-01', '2026-02-28', '10:00:01.5', 12345678901234567890.123456789, 1.5,
                    7, 1.5, 0.1, '{"a": [1, {"b": null}], "big": 12345678901234567890}', '{a,"b c",NULL}', '{1,2}', true,
                    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'good', '\x00ff', E'Zoë "q" \\ \t\n', 'v', '10.0.0.1', 1),
                   (9223372036854775807, '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999', '9999-12-31', '23:59:59', 0,
                    -0.0000000001, -32768, '-1e-30', '1e300', '"x"', '{}', '{}', false, '00000000-0000-0000-0000-000000000000', 'bad',
                    '', '', '', '::1', -1);
               insert into app.things (id) values (2);"#,
        )
        .await
        .expect("made");
    let url = source.database.url.replacen("postgres:", "postgresql:", 1);
    source.add(&json!({"sqlalchemy_url": url, "filter_schemas": ["app"]}), &["app-things"]).await;
    assert_eq!(source.run().await, 3);
    let different = "select id, to_jsonb(s), to_jsonb(p) from app.things s full join pg.app_things p using (id)
         where (s.at, s.at_local at time zone 'UTC', s.day, s.clock, s.n, s.n2, s.small, s.r::text::numeric, s.d::text::numeric, s.doc,
                to_jsonb(s.tags), to_jsonb(s.nums), s.flag, s.u::text, s.m::text, encode(s.b, 'hex'), s.t, s.v, host(s.net), s.\"Camel Case\")
               is distinct from
               (p.at, p.at_local, p.day, p.clock::time, p.n, p.n2, p.small, p.r, p.d, p.doc, p.tags, p.nums, p.flag, p.u, p.m, p.b, p.t, p.v,
                p.net, p.camel_case)";
    assert_eq!(source.rows(different).await, Vec::<String>::new());
    assert_eq!(source.rows("select count(*) from pg.app_things").await, ["3"]);
    client.batch_execute("update app.things set t = 'changed', n = null where id < 3").await.expect("changed");
    assert_eq!(source.run().await, 3);
    assert_eq!(source.rows(different).await, Vec::<String>::new());
    assert_eq!(source.rows("select count(*) from pg.app_things where t = 'changed'").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file() {
    let Some(tap) = environment("tap-jsonl") else { return };
    let source = Source::of("files", tap.join("bin/tap-jsonl")).await;
    let lines = [
        json!({"id": 1, "ID": 5, "at": "2026-01-01T00:00:00+05:00", "day": "2026-01-01", "n": 1, "mixed": 1, "Größe": 1.5}),
        json!({"id": 2, "at": null, "n": 18_446_744_073_709_551_615_u64, "mixed": "x", "text": "a\u{0}b"}),
        json!({"id": 3, "mixed": [1], "text": "Zoë \t\n\\"}),
    ];
    write_lines(&source, "a.jsonl", &lines);
    let path = source.file("*.jsonl");
    source.add(&json!({"path": path, "stream_name": "things", "primary_keys": ["id"]}), &[]).await;
    assert_eq!(source.run().await, 3);
    let things = "select id, id_2, at, day, n, mixed, größe, replace(text, E'\\ufffd', '<nul>'), _extra from files.things order by id";
    let expected = [
        "1|5|2025-12-31 19:00:00+00|2026-01-01|1|1|1.5||",
        "2||||18446744073709551615|\"x\"||a<nul>b|",
        "3|||||[1]||Zoë \t\n\\|",
    ];
    assert_eq!(source.rows(things).await, expected);
    // What the schema, made of samples of the first file, did not foresee.
    let lines = [
        json!({"id": 4, "at": "", "day": "", "n": "", "text": ""}),
        json!({"id": 5, "at": "9999-12-31T23:59:59Z", "day": "9999-12-31"}),
    ];
    write_lines(&source, "b.jsonl", &lines);
    assert_eq!(source.run().await, 5);
    let expected = [
        "4||||||||{\"n\": \"\", \"at\": \"\", \"day\": \"\"}".replacen("||||||||", "|||||||<>|", 1).replace("<>", ""),
        "5||9999-12-31 23:59:59+00|9999-12-31|||||".to_owned(),
    ];
    assert_eq!(source.rows(&things.replace("order by id", "where id > 3 order by id")).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn intercom() {
    let Some(tap) = environment("tap-intercom") else { return };
    let stand_in = StandIn::start(&tap.join("bin/python")).await;
    let source = Source::wrapped("intercom", &tap, "tap_intercom", &stand_in).await;
    let settings =
        json!({"access_token": "secret-token", "start_date": days_before(&stand_in, 20), "user_agent": "weir"});
    source.add(&settings, &["contacts", "companies", "tags", "contact_attributes"]).await;
    assert_eq!(source.run().await, 170 + 3 + 3 + 3);
    let contact = format!(
        "select name, extract(epoch from created_at) - {now}, extract(epoch from updated_at) - {now}, tags, custom_attributes->'seats',
                location_city, location_region from intercom.contacts_flat where id = 'contact-003'",
        now = stand_in.now
    );
    let expected = format!("Zoë 3|{}.000000|{}.000000|[{{\"id\": \"1\"}}]|3|Köln|", -6 * DAY_S, 3 - 5 * DAY_S);
    assert_eq!(source.rows(&contact).await, [expected]);
    let company =
        "select name, monthly_spend, plan_name, tags->0->>'id' from intercom.companies_flat order by id limit 2";
    assert_eq!(source.rows(company).await, ["Company 0|0.0|Pro|1", "Company 1|0.25|Pro|1"]);

    stand_in.next().await;
    // What is as old as the newest of the first run comes again.
    assert_eq!(source.run().await, (1 + 2) + 1 + 3 + 2);
    let renamed = "select id, name from intercom.contacts where name like 'Renamed%' order by id";
    assert_eq!(source.rows(renamed).await, ["contact-003|Renamed 3", "contact-170|Renamed 170"]);
    // The tap tells by ACTIVATE_VERSION what there is no more.
    let gone = "select name, _deleted_at is not null from intercom.contact_attributes order by name";
    assert_eq!(source.rows(gone).await, ["old|t", "plan|f", "seats|f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn salesforce() {
    let Some(tap) = environment("tap-salesforce") else { return };
    let stand_in = StandIn::start(&tap.join("bin/python")).await;
    let source = Source::wrapped("crm", &tap, "tap_salesforce", &stand_in).await;
    let settings = json!({"refresh_token": "refresh-token-0", "client_id": "client-id", "client_secret": "client-secret",
                          "start_date": "2025-01-01T00:00:00Z", "api_type": "REST"});
    source.add(&settings, &[]).await;
    assert_eq!(source.run().await, 2 + 250 + 3);
    let deal = "select amount, probability, close_date, is_won, visits__c, place__c->'latitude', calculated__c, opens_at__c, created_date,
                       system_modstamp from crm.opportunity where id = '006000000000001'";
    let expected =
        "0.25|12.5|2026-03-01 00:00:00+00|f|1|50.9|1.5|10:00:00.000Z|2026-01-01 00:00:00+00|2026-01-01 00:01:00+00";
    assert_eq!(source.rows(deal).await, [expected]);
    let account = "select name, annual_revenue, billing_address_street, billing_address_latitude from crm.account_flat order by id";
    assert_eq!(
        source.rows(account).await,
        ["Zoë & Söhne 0|0.0|Straße 1\n2. Stock|50.9", "Zoë & Söhne 1|1000000000.0|Straße 1\n2. Stock|50.9"]
    );

    stand_in.next().await;
    // Both accounts and the last deal are as old as their bookmarks; two deals changed and one is new; queues are read as a
    // whole.
    assert_eq!(source.run().await, 2 + (1 + 2 + 1) + 2);
    assert_eq!(source.rows("select count(*), count(*) filter (where is_won) from crm.opportunity").await, ["251|2"]);
    assert_eq!(source.rows("select count(*) from crm.queue where _deleted_at is not null").await, ["1"]);
    // Each login, the one to discover too, has replaced the token by one that the next login needs.
    assert_eq!(source.config()["refresh_token"], "refresh-token-3");
}

#[tokio::test(flavor = "multi_thread")]
async fn front() {
    let Some(tap) = environment("tap-frontapp") else { return };
    let stand_in = StandIn::start(&tap.join("bin/python")).await;
    let source = Source::wrapped("front", &tap, "tap_frontapp", &stand_in).await;
    let (start, end) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    source.add(&json!({"token": "secret-token", "start_date": start, "end_date": end}), &["teams_table"]).await;
    assert_eq!(source.run().await, 2);
    let teams =
        "select analytics_date, metric_description, num_messages_received, avg_first_response_time, avg_handle_time
                   from front.teams_table order by 1, metric_id";
    let expected = ["2026-01-01|Support|42|12.5|", "2026-01-01|Größere Kunden|42|12.5|"];
    assert_eq!(source.rows(teams).await, expected);
    source.set_config("end_date", "2026-01-02T00:00:00Z".into());
    assert_eq!(source.run().await, 2);
    let expected = [expected[0], expected[1], "2026-01-02|Support|42|12.5|", "2026-01-02|Größere Kunden|42|12.5|"];
    assert_eq!(source.rows(teams).await, expected);
}
