//! Singer's messages become rows: types, keys, changes of schema, what does not fit, and crashes at any moment.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use weir::config::Config;
use weir::database::{Database, migrate};
use weir::sync::settings::{OnDelete, Singer};
use weir::sync::singer::SingerError;
use weir::sync::singer::load::Loaded;
use weir::sync::singer::run;

use crate::split_mix::SplitMix64;
use crate::support::{TestDatabase, connect, eventually, superuser_url};

/// A source of the name `crm`.
struct Target {
    database: TestDatabase,
    pool: Database,
}

impl Target {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let mut settings = Config::default().database;
        settings.url.clone_from(&database.url);
        let pool = Database::new(&settings, 4).expect("a valid URL");
        migrate::run(&pool).await.expect("migrated");
        Self { database, pool }
    }

    async fn try_load(&self, messages: &[Value], settings: &Singer) -> (Result<Loaded, SingerError>, Vec<String>) {
        let input: String = messages.iter().map(|message| format!("{message}\n")).collect();
        self.try_load_text(&input, settings).await
    }

    async fn try_load_text(&self, input: &str, settings: &Singer) -> (Result<Loaded, SingerError>, Vec<String>) {
        let mut states = Vec::new();
        let echo = |state: &str| {
            states.push(state.to_owned());
            Ok(())
        };
        let loaded = run::load(&self.pool, "crm", "crm", settings, input.as_bytes(), echo).await;
        (loaded, states)
    }

    async fn load(&self, messages: &[Value]) -> Loaded {
        self.try_load(messages, &Singer::default()).await.0.expect("loaded")
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        self.database.rows(&format!("set timezone = 'UTC'; {sql}")).await
    }

    async fn types(&self, relation: &str) -> Vec<String> {
        let sql = format!(
            "select attname || ' ' || format_type(atttypid, atttypmod) from pg_attribute
              where attrelid = '{relation}'::regclass and attnum > 0 and not attisdropped and attname !~ '^_' order by attnum"
        );
        self.rows(&sql).await
    }
}

fn schema(stream: &str, properties: &Value, key: &[&str]) -> Value {
    json!({"type": "SCHEMA", "stream": stream, "schema": {"properties": properties}, "key_properties": key})
}

fn record(stream: &str, record: &Value) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": record, "time_extracted": "2026-11-26T10:00:00Z"})
}

fn state(value: u64) -> Value {
    json!({"type": "STATE", "value": {"at": value}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_a_table() {
    let target = Target::new().await;
    let properties = json!({
        "Id": {"type": "integer"},
        "createdAt": {"type": ["null", "string"], "format": "date-time", "description": "When it was made"},
        "amount": {"type": "number"},
        "paid": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "any": {},
        "never": {"type": "null"},
    });
    let messages = [
        json!({"type": "STATE", "value": {}}),
        schema("Invoices-2", &properties, &["Id"]),
        record(
            "Invoices-2",
            &json!({"Id": 1, "createdAt": "2026-01-01T00:00:00+05:00", "amount": 0.1, "paid": true, "tags": ["a\tb\\"],
                    "any": "text", "never": null, "stranger": {"deep": "\u{0}"}}),
        ),
        record("Invoices-2", &json!({"Id": 2, "createdAt": null, "amount": 12_345_678_901_234_567_890_u64, "any": 1})),
        state(7),
        json!({"type": "HEARTBEAT"}),
    ];
    let (loaded, states) = target.try_load(&messages, &Singer::default()).await;
    let Loaded { rows, rejected, unknown, .. } = loaded.expect("loaded");
    assert_eq!((rows, rejected, unknown), (2, 0, 1));
    assert_eq!(states.last().map(String::as_str), Some(r#"{"at":7}"#));
    assert_eq!(
        target.types("crm.invoices_2").await,
        [
            "id bigint",
            "amount numeric",
            "any jsonb",
            "created_at timestamp with time zone",
            "paid boolean",
            "tags jsonb"
        ]
    );
    assert_eq!(
        target
            .rows(
                "select id, amount, \"any\", created_at, paid, tags, _extra, _extracted_at, _synced_at is not null, _deleted_at
                       from crm.invoices_2 order by id"
            )
            .await,
        [
            "1|0.1|\"text\"|2025-12-31 19:00:00+00|t|[\"a\\tb\\\\\"]|{\"stranger\": {\"deep\": \"\u{fffd}\"}}|2026-11-26 10:00:00+00|t|",
            "2|12345678901234567890|1|||||2026-11-26 10:00:00+00|t|",
        ]
    );
    let comments = "select col_description('crm.invoices_2'::regclass, attnum) from pg_attribute
                     where attrelid = 'crm.invoices_2'::regclass and attname in ('id', 'created_at') order by attname";
    assert_eq!(target.rows(comments).await, ["When it was made", "Id"]);
    let run = "select s.state, r.outcome, r.rows, r.rejected from sync.sources s join sync.runs r using (source)";
    assert_eq!(target.rows(run).await, [r#"{"at": 7}|done|2|0"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_merged_by_their_key_and_the_last_one_counts() {
    let target = Target::new().await;
    let properties = json!({"a": {"type": "string"}, "b": {"type": "integer"}, "v": {"type": ["null", "string"]}});
    let row = |a: &str, b: u32, v: Value| record("t", &json!({"a": a, "b": b, "v": v}));
    let schema = schema("t", &properties, &["a", "b"]);
    target
        .load(&[schema.clone(), row("x", 1, json!("old")), row("x", 2, json!("other")), row("x", 1, json!("new"))])
        .await;
    assert_eq!(target.rows("select a, b, v from crm.t order by b").await, ["x|1|new", "x|2|other"]);
    // What is absent is null, as what is null.
    target.load(&[schema, record("t", &json!({"a": "x", "b": 2})), row("y", 1, json!("z"))]).await;
    assert_eq!(target.rows("select a, b, v from crm.t order by a, b").await, ["x|1|new", "x|2|", "y|1|z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_rows_are_added() {
    let target = Target::new().await;
    let messages = [schema("log", &json!({"v": {"type": "integer"}}), &[]), record("log", &json!({"v": 1}))];
    target.load(&messages).await;
    target.load(&messages).await;
    assert_eq!(target.rows("select v from crm.log").await, ["1", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_changes_adds_and_widens_and_keeps_the_views() {
    let target = Target::new().await;
    let first =
        schema("t", &json!({"id": {"type": "integer"}, "n": {"type": "integer"}, "gone": {"type": "string"}}), &["id"]);
    target.load(&[first, record("t", &json!({"id": 1, "n": 5, "gone": "here"}))]).await;
    target
        .database
        .client
        .batch_execute(
            "create view public.seen as select id, n from crm.t; comment on view public.seen is 'mine';
             grant select on public.seen to public; create materialized view public.kept as select sum(n) from public.seen"
        )
        .await
        .expect("views made");
    let second = schema(
        "t",
        &json!({"id": {"type": "integer"}, "n": {"type": ["integer", "number"]}, "new": {"type": "string", "format": "date-time"}}),
        &["id"],
    );
    let third =
        schema("t", &json!({"id": {"type": "integer"}, "n": {"type": "string"}, "new": {"type": "object"}}), &["id"]);
    target
        .load(&[
            second,
            record("t", &json!({"id": 2, "n": 0.5, "new": "2026-01-02T03:04:05.678Z", "gone": "still"})),
            third,
            record("t", &json!({"id": 3, "n": "many", "new": {"a": 1}, "gone": 7})),
        ])
        .await;
    assert_eq!(target.types("crm.t").await, ["id bigint", "gone text", "n text", "new jsonb"]);
    assert_eq!(
        target.rows("select id, n, new, gone, _extra from crm.t order by id").await,
        ["1|5||here|", r#"2|0.5|"2026-01-02T03:04:05.678000Z"|still|"#, r#"3|many|{"a": 1}|7|"#]
    );
    assert_eq!(target.rows("select id, n from public.seen order by id").await, ["1|5", "2|0.5", "3|many"]);
    let kept =
        "select obj_description('public.seen'::regclass), has_table_privilege('public', 'public.seen', 'select')";
    assert_eq!(target.rows(kept).await, ["mine|t"]);
    // A sum of texts is nothing that PostgreSQL would make again.
    let broken = "select name, definition ~ 'sum', reason ~ 'sum' from sync.broken_views";
    assert_eq!(target.rows(broken).await, ["public.kept|t|t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_the_schema_allows_widen_a_column_by_themselves() {
    let target = Target::new().await;
    let time = json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]});
    let schema = schema("t", &json!({"id": {"type": "integer"}, "at": time, "n": {"type": "integer"}}), &["id"]);
    target
        .load(&[
            schema,
            record("t", &json!({"id": 1, "at": "2026-01-01T00:00:00Z", "n": 1})),
            record("t", &json!({"id": 2, "at": "soon", "n": 18_446_744_073_709_551_615_u64})),
        ])
        .await;
    assert_eq!(target.types("crm.t").await, ["id bigint", "at text", "n numeric"]);
    assert_eq!(
        target.rows("select id, at, n from crm.t order by id").await,
        ["1|2026-01-01T00:00:00Z|1", "2|soon|18446744073709551615"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_kept_aside_with_its_reason_and_costs_nothing_else() {
    let target = Target::new().await;
    let schema =
        schema("t", &json!({"id": {"type": "integer"}, "n": {"type": "integer"}, "j": {"type": "object"}}), &["id"]);
    let mut input = format!("{schema}\nstarting up\n");
    for (id, rest) in [(1, r#""n":1"#), (2, r#""n":"two""#), (3, r#""n":3,"j":{"a":1e400000}"#), (4, r#""n":4"#)] {
        writeln!(input, r#"{{"type":"RECORD","stream":"t","record":{{"id":{id},{rest}}}}}"#).expect("written");
    }
    input.push_str("{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{\"n\":5}}\n");
    input.push_str("{\"type\":\"RECORD\",\"stream\":\"other\",\"record\":{\"n\":6}}\n");
    input.push_str(
        "{\"type\":\"RECORD\",\"stream\":\"t\",\"record\":{\"id\":7,\"n\":NaN}}\n{\"type\":\"STATE\",\"value\":1}\n",
    );
    let (loaded, states) = target.try_load_text(&input, &Singer::default()).await;
    let Loaded { rows, rejected, unknown, .. } = loaded.expect("loaded");
    assert_eq!((rows, rejected, unknown), (3, 5, 0));
    assert_eq!(states, ["1"]);
    // What is no number is null.
    assert_eq!(target.rows("select id, n from crm.t order by id").await, ["1|1", "4|4", "7|"]);
    let rejects = target.rows("select stream, reason, record from sync.rejects order by reject_id").await;
    for (row, parts) in rejects.iter().zip([
        ["t|n is \"two\", which its schema does not allow", "{\"id\":2,\"n\":\"two\"}"],
        ["t|PostgreSQL: ", "{\"id\":3,\"n\":3,\"j\":{\"a\":1e400000}}"],
        ["t|its key, id, is null", "{\"n\":5}"],
        ["|no message of Singer's: ", "|starting up"],
        ["|no SCHEMA of other came before it", "\"n\":6"],
    ]) {
        assert!(row.starts_with(parts[0]) && row.contains(parts[1]), "{row} should be {parts:?}");
    }
    assert_eq!(rejects.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_over_are_marked_or_deleted() {
    let target = Target::new().await;
    let versioned = |stream: &str, id: u32, version: u32| json!({"type": "RECORD", "stream": stream, "record": {"id": id}, "version": version});
    let over = |stream: &str, version: u32| json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": version});
    let id = json!({"id": {"type": "integer"}});
    let (keyed, bare) = (schema("keyed", &id, &["id"]), schema("bare", &id, &[]));
    let first =
        [keyed.clone(), bare.clone(), versioned("keyed", 1, 1), versioned("keyed", 2, 1), versioned("bare", 1, 1)];
    target.load(&first).await;
    let second =
        [keyed.clone(), bare, versioned("keyed", 2, 2), over("keyed", 2), versioned("bare", 1, 2), over("bare", 2)];
    target.load(&second).await;
    let sql = "select id, _version, _deleted_at is not null from crm.keyed order by id";
    assert_eq!(target.rows(sql).await, ["1|1|t", "2|2|f"]);
    assert_eq!(target.rows("select id, _version from crm.bare").await, ["1|2"]);
    // One that comes back is there again.
    target.load(&[keyed.clone(), versioned("keyed", 1, 2)]).await;
    assert_eq!(target.rows(sql).await, ["1|2|f", "2|2|f"]);
    // Said at the beginning, it is said again at the end, or the tap has not come so far.
    target.load(&[keyed.clone(), over("keyed", 3), state(1), versioned("keyed", 1, 3)]).await;
    assert_eq!(target.rows(sql).await, ["1|3|f", "2|2|f"]);
    target.load(&[keyed.clone(), over("keyed", 3), versioned("keyed", 1, 3), over("keyed", 3)]).await;
    assert_eq!(target.rows(sql).await, ["1|3|f", "2|2|t"]);
    // Also where there is no row any more.
    target.load(&[keyed.clone(), over("keyed", 4), over("keyed", 4)]).await;
    assert_eq!(target.rows(sql).await, ["1|3|t", "2|2|t"]);
    let deletes = Singer { on_delete: OnDelete::Delete, ..Singer::default() };
    target.try_load(&[keyed, versioned("keyed", 2, 5), over("keyed", 5)], &deletes).await.0.expect("loaded");
    assert_eq!(target.rows(sql).await, ["2|5|f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_never_ahead_of_the_rows() {
    let target = Target::new().await;
    let schema = schema("t", &json!({"id": {"type": "integer"}}), &["id"]);
    target.load(&[schema.clone(), record("t", &json!({"id": 1})), state(1)]).await;
    let trap = "create function crm.trap() returns trigger language plpgsql as $$ begin raise exception 'no' using errcode = 'P0001'; end $$;
                create trigger trap before insert on crm.t for each row when (new.id = 3) execute function crm.trap()";
    target.database.client.batch_execute(trap).await.expect("made");
    let messages = [schema.clone(), record("t", &json!({"id": 2})), record("t", &json!({"id": 3})), state(3)];
    let (loaded, states) = target.try_load(&messages, &Singer::default()).await;
    loaded.expect_err("the table refuses");
    assert!(states.is_empty(), "{states:?}");
    let sql = "select state, (select count(*) from crm.t) from sync.sources";
    assert_eq!(target.rows(sql).await, [r#"{"at": 1}|1"#]);
    let failed = "select outcome, error is not null from sync.runs order by run_id desc limit 1";
    assert_eq!(target.rows(failed).await, ["failed|t"]);
    // Files instead of rows are refused, before anything is skipped.
    let batch = json!({"type": "BATCH", "stream": "t", "encoding": {}, "manifest": []});
    let error = target.try_load(&[schema, batch, state(9)], &Singer::default()).await.0.expect_err("refused");
    assert!(error.to_string().contains("batch_config"), "{error}");
    assert_eq!(target.rows(sql).await, [r#"{"at": 1}|1"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_state_covers_is_sent_again_and_there_once() {
    let target = Target::new().await;
    let table = schema("log", &json!({"n": {"type": "integer"}}), &[]);
    let row = |n: u32| record("log", &json!({"n": n}));
    // The output has ended; whether the tap has, weir cannot know.
    target.load(&[table.clone(), row(1), state(1), row(2)]).await;
    assert_eq!(target.rows("select n from crm.log order by n").await, ["1", "2"]);
    target.load(&[table.clone(), row(2), row(3), state(3)]).await;
    assert_eq!(target.rows("select n from crm.log order by n").await, ["1", "2", "3"]);
    // One that knows no STATE sends everything each time.
    target.load(&[table.clone(), row(4)]).await;
    target.load(&[table, row(4)]).await;
    assert_eq!(target.rows("select n from crm.log order by n").await, ["1", "2", "3", "4", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_others_depend_on_are_not_passed_over() {
    let target = Target::new().await;
    for (line, said) in [
        (r#"{"type":"SCHEMA","stream":"t","schema":{},"key_properties":"id"}"#, "a SCHEMA of the tap's cannot be read"),
        (r#"{"type":"STATE"}"#, "a STATE of the tap's cannot be read"),
        (r#"{"type":"BATCH","stream":7}"#, "a BATCH of the tap's cannot be read"),
    ] {
        let error =
            target.try_load_text(&format!("{line}\n{}\n", state(1)), &Singer::default()).await.0.expect_err(line);
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!(target.rows("select state is null from sync.sources").await, ["t"]);
    // A tap that only writes nonsense is not listened to for ever.
    let error = target.try_load_text(&".\n".repeat(20_000), &Singer::default()).await.0.expect_err("too much");
    assert!(matches!(error, SingerError::TooManyRejects(_)), "{error}");
    // The last line need not end as a line, however late it comes.
    let last =
        format!("{}\n{}", schema("t", &json!({"id": {"type": "integer"}}), &["id"]), record("t", &json!({"id": 1})));
    target.try_load_text(&last, &Singer::default()).await.0.expect("loaded");
    assert_eq!(target.rows("select id from crm.t").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_outlives_a_schema_that_only_knows_null_and_a_key_its_column() {
    let target = Target::new().await;
    let with = |x: Value| schema("t", &json!({"id": {"type": "integer"}, "x": x}), &["id"]);
    target.load(&[with(json!({"type": "string"})), record("t", &json!({"id": 1, "x": "a"}))]).await;
    target.load(&[with(json!({"type": "null"})), record("t", &json!({"id": 1, "x": null}))]).await;
    assert_eq!(target.rows("select x from crm.t").await, [""]);
    target.load(&[with(json!({"type": "string"})), record("t", &json!({"id": 1, "x": "b"}))]).await;
    assert_eq!(target.types("crm.t").await, ["id bigint", "x text"]);
    let other = schema("t", &json!({"x": {"type": "string"}}), &["x"]);
    target.load(&[other, record("t", &json!({"x": "b"})), record("t", &json!({"x": "c"}))]).await;
    assert_eq!(target.rows("select id, x from crm.t order by x").await, ["|b", "|c"]);
    let bare = schema("t", &json!({"x": {"type": "string"}}), &[]);
    target.load(&[bare, record("t", &json!({}))]).await;
    assert_eq!(target.rows("select count(*) from crm.t where x is null").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_numbered() {
    let target = Target::new().await;
    let text = json!({"type": "string"});
    let properties = json!({"_n": text, "xmin": text, "_batch": text, "_extra": text, "ID": text, "id": text, "a b": text, "a-b": text});
    let every: Value =
        properties.as_object().expect("an object").keys().map(|name| (name.clone(), json!(name))).collect();
    target.load(&[schema("t", &properties, &["id"]), record("t", &every)]).await;
    let row = target.rows("select _n_2, xmin_2, _batch_2, _extra_2, id, id_2, a_b, a_b_2, _extra from crm.t").await;
    assert_eq!(row, ["_n|xmin|_batch|_extra|id|ID|a b|a-b|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_log_tells_are_gone_keep_what_they_said() {
    let target = Target::new().await;
    let gone = json!({"type": ["null", "string"], "format": "date-time"});
    let table =
        schema("t", &json!({"id": {"type": "integer"}, "v": {"type": "string"}, "_sdc_deleted_at": gone}), &["id"]);
    let first = [record("t", &json!({"id": 1, "v": "a"})), record("t", &json!({"id": 2, "v": "b"}))];
    let went = record("t", &json!({"id": 1, "_sdc_deleted_at": "2026-11-26T10:00:00Z"}));
    let again = record("t", &json!({"id": 1, "v": "c"}));
    let sql = "select id, v, _deleted_at is not null from crm.t order by id";
    target.load(&[std::slice::from_ref(&table), &first[..]].concat()).await;
    target.load(&[table.clone(), went.clone()]).await;
    assert_eq!(target.rows(sql).await, ["1|a|t", "2|b|f"]);
    target.load(&[table.clone(), again]).await;
    assert_eq!(target.rows(sql).await, ["1|c|f", "2|b|f"]);
    let deletes = Singer { on_delete: OnDelete::Delete, ..Singer::default() };
    target.try_load(&[table, went], &deletes).await.0.expect("loaded");
    assert_eq!(target.rows(sql).await, ["2|b|f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_of_a_source_do_not_mix() {
    let target = Target::new().await;
    let lock = connect(&target.database.url).await;
    let number = (0x7379_6e63_i64 << 32) | i64::from(crc32c(b"crm"));
    lock.batch_execute(&format!("begin; select pg_advisory_xact_lock({number})")).await.expect("locked");
    let error = target.try_load(&[], &Singer::default()).await.0.expect_err("busy");
    assert!(matches!(error, SingerError::Busy(_)), "{error}");
    lock.batch_execute("rollback").await.expect("free");
    // One that has lost its lock unawares, and another that has begun since.
    let admin = connect(&superuser_url()).await;
    let (mut writer, reader) = tokio::io::duplex(64 * 1024);
    let pool = target.pool.clone();
    let load = tokio::spawn(async move {
        run::load(&pool, "crm", "crm", &Singer::default(), BufReader::new(reader), |_| Ok(())).await
    });
    let table = schema("t", &json!({"id": {"type": "integer"}}), &["id"]);
    writer.write_all(format!("{table}\n").as_bytes()).await.expect("written");
    target.database.until("select count(*) from pg_class where oid = to_regclass('crm.t')", 1).await;
    let cut = "select pg_terminate_backend(pid) from pg_locks join pg_database d on d.oid = database
                where locktype = 'advisory' and d.datname = $1";
    admin.query(cut, &[&target.database.name]).await.expect("cut");
    target.load(&[table, record("t", &json!({"id": 1})), state(2)]).await;
    let late = format!("{}\n{}\n", record("t", &json!({"id": 9})), state(1));
    writer.write_all(late.as_bytes()).await.expect("written");
    drop(writer);
    let error = load.await.expect("no panic").expect_err("taken over");
    assert!(matches!(error, SingerError::TakenOver(_)), "{error}");
    assert_eq!(target.rows("select id from crm.t").await, ["1"]);
    assert_eq!(target.rows("select outcome from sync.runs order by run_id").await, ["lost", "done"]);
}

fn crc32c(bytes: &[u8]) -> u32 {
    // Castagnoli's polynomial, bit by bit (RFC 3720, B.4).
    let step = |crc: u32| (0..8).fold(crc, |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1)));
    !bytes.iter().fold(!0, |crc, &byte| step(crc ^ u32::from(byte)))
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_data_is_taken_apart_by_views() {
    let target = Target::new().await;
    let address = json!({"type": ["null", "object"], "properties": {
        "day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "date-time"},
        "city": {"type": "string"}, "since": {"type": "string", "format": "date-time"},
        "geo": {"type": "object", "properties": {"lat": {"type": "number"}}}}});
    let lines = json!({"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}, "n": {"type": "integer"}}}});
    let properties = json!({"id": {"type": "integer"}, "address": address, "lines": lines});
    let first = schema("orders", &properties, &["id"]);
    target
        .load(&[
            first,
            record(
                "orders",
                &json!({"id": 1, "address": {"day": "2026-01-01T00:00:00Z", "at": "2026-01-01 10:00:00", "city": "Ulm", "since": "2024-02-29T00:00:00Z", "geo": {"lat": 48.4}},
                                     "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": "x"}]}),
            ),
            record(
                "orders",
                &json!({"id": 2, "address": {"city": 5, "since": "2023-02-29T00:00:00Z", "geo": "here"}, "lines": {}}),
            ),
        ])
        .await;
    assert_eq!(
        target
            .rows("select id, address_city, address_geo_lat, address_since, lines from crm.orders_flat order by id")
            .await,
        [r#"1|Ulm|48.4|2024-02-29 00:00:00+00|[{"n": 2, "sku": "a"}, {"n": "x", "sku": "b"}]"#, "2|5|||{}"]
    );
    assert_eq!(
        target.rows("select id, _index, sku, n from crm.orders__lines order by 1, 2").await,
        ["1|1|a|2", "1|2|b|"]
    );
    // It says the same to readers of any time zone, as the tables do.
    let elsewhere = "set timezone = 'America/New_York'; select address_day, extract(epoch from address_at) from crm.orders_flat where id = 1";
    assert_eq!(target.database.rows(elsewhere).await, ["2026-01-01|1767261600.000000"]);
    // A view of one's own on it survives what is new, and so do those who may read it.
    let mine = "create view public.cities as select address_city from crm.orders_flat; grant select on crm.orders_flat to public";
    target.database.client.batch_execute(mine).await.expect("made");
    let mut more = properties.clone();
    more["address"]["properties"]["area"] = json!({"type": "string"});
    target
        .load(&[schema("orders", &more, &["id"]), record("orders", &json!({"id": 3, "address": {"area": "x"}}))])
        .await;
    assert_eq!(target.rows("select address_area from crm.orders_flat where id = 3").await, ["x"]);
    assert_eq!(target.rows("select count(*) from public.cities").await, ["3"]);
    assert_eq!(target.rows("select has_table_privilege('public', 'crm.orders_flat', 'select')").await, ["t"]);
}

/// What a tap says after `from` records: `total` of them, with STATE at every so many.
fn tap_output(from: u64, total: u64) -> String {
    let keyed = schema("keyed", &json!({"id": {"type": "integer"}, "v": {"type": "string"}}), &["id"]);
    let mut text = format!("{keyed}\n{}\n", schema("added", &json!({"n": {"type": "integer"}}), &[]));
    for n in from..total {
        // The same key again and again, with another value.
        writeln!(text, "{}", record("keyed", &json!({"id": n % 500, "v": format!("v{n}")}))).expect("written");
        writeln!(text, "{}", record("added", &json!({"n": n}))).expect("written");
        if n % 97 == 96 || n + 1 == total {
            writeln!(text, "{}", state(n + 1)).expect("written");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_ends_as_if_it_had_not_been() {
    const KILLS: u32 = 50;
    const TOTAL: u64 = 100_000;
    let target = Target::new().await;
    let mut random = SplitMix64::new(8);
    let at = "select coalesce((select (state->>'at')::bigint from sync.sources), 0)";
    let (mut kills, mut moved, mut left) = (0, 0, 0);
    let busy = "select count(*) from pg_stat_activity
                 where datname = current_database() and backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()";
    loop {
        // A commit that was under way when its process was killed still moves the STATE.
        eventually("the sessions of the killed one are over", async || target.database.number(busy).await == 0).await;
        let from = target.database.number(at).await as u64;
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(["sync", "load", "crm"])
            .env("DATABASE_URL", &target.database.url)
            .current_dir(std::env::temp_dir())
            .env("WEIR_SYNC__CRM__KIND", "singer")
            // A commit each hundred records or so, often before there is a STATE.
            .env("WEIR_SYNC__CRM__BATCH_BYTES_MAX", "8192");
        let mut load =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut input = load.stdin.take().expect("piped");
        let text = tap_output(from, TOTAL);
        let writing = tokio::spawn(async move {
            for piece in text.as_bytes().chunks(64 * 1024) {
                // Its reader may have been killed.
                if input.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        if kills < KILLS {
            // Three of four in the midst of writing, the others perhaps before it.
            if random.next().is_multiple_of(4) {
                tokio::time::sleep(Duration::from_micros(random.next() % 400_000)).await;
            } else {
                let mut states = BufReader::new(load.stdout.take().expect("piped")).lines();
                states.next_line().await.expect("it writes");
                tokio::time::sleep(Duration::from_micros(random.next() % 100_000)).await;
            }
            load.kill().await.expect("ours");
            kills += 1;
            writing.await.expect("no panic");
            moved += u32::from(target.database.number(at).await as u64 > from);
            let uncovered = "select count(*) from crm.added where _batch > (select covered from sync.sources)";
            let is_there =
                target.database.number("select count(*) from pg_class where oid = to_regclass('crm.added')").await;
            left += u32::from(is_there == 1 && target.database.number(uncovered).await > 0);
        } else {
            // What it echoes has to be read, or it waits.
            assert!(load.wait_with_output().await.expect("ours").status.success());
            break;
        }
    }
    eprintln!("killed {kills} times; {moved} of the runs had written something, {left} more than STATE covers");
    assert!(left > 0, "no run left anything to be taken back");
    assert!(moved > KILLS / 4, "{moved} of {kills} runs had written something: the others prove nothing");
    assert_eq!(target.database.number("select count(*) from crm.added").await, TOTAL as i64);
    assert_eq!(target.database.number("select count(distinct n) from crm.added").await, TOTAL as i64);
    assert_eq!(target.database.number("select sum(substr(v, 2)::bigint)::bigint from crm.keyed").await, {
        let last = TOTAL as i64 - 500;
        (last..TOTAL as i64).sum::<i64>()
    });
    assert_eq!(target.database.number("select count(*) from crm.keyed").await, 500);
}
