//! `weir import` as a process: every format, exactly once through whatever happens, and each record accounted for.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::split_mix::SplitMix64;
use crate::support::server::{End, Server};
use crate::support::{TestDatabase, eventually, first_source, within};

/// Whose records are refused.
const SOME_REFUSED: i32 = 3;

/// A database with a source `web`, and a directory for files.
struct Place {
    database: TestDatabase,
    dir: tempfile::TempDir,
}

/// What a run said.
struct Ran {
    code: Option<i32>,
    json: Value,
    stderr: String,
}

impl Ran {
    /// read, read before, stored, already there, refused, in quarantine.
    fn counts(&self) -> [u64; 6] {
        ["read", "read_before", "stored", "already_there", "refused", "quarantined"].map(|name| {
            self.json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {}; {}", self.json, self.stderr))
        })
    }
}

impl Place {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        first_source(&database.url).await;
        Self { database, dir: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command
            .args(["import", "--source", "web", "--json"])
            .args(arguments)
            .current_dir(self.dir.path())
            .env("DATABASE_URL", &self.database.url)
            .env("WEIR_LOG", "warn")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn import_with(&self, mut command: Command, input: &[u8]) -> Ran {
        let _ = self;
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        let write = async move { stdin.write_all(input).await };
        let (written, output) = within("an import", async { tokio::join!(write, child.wait_with_output()) }).await;
        written.expect("it reads");
        let output = output.expect("it ran");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ran { code: output.status.code(), json, stderr }
    }

    async fn import(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        let output = within("an import", command.output()).await.expect("it ran");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        Ran { code: output.status.code(), json, stderr }
    }

    async fn rows(&self, sql: &str) -> Vec<String> {
        self.database.rows(&format!("set timezone = 'UTC'; {sql}")).await
    }

    async fn stored(&self) -> i64 {
        self.database.number("select count(*) from analytics.events").await
    }

    /// A transaction that begins behind the gate's number of records waits at its end, until the number is raised: however
    /// slow who looks is, he finds an import in the midst of its file.
    async fn make_gate(&self) {
        let sql = "create table public.gate as select 0::bigint as behind;
             create function public.wait_at_gate() returns trigger language plpgsql as $$
             begin
                 while old.read >= (select behind from public.gate) loop perform pg_sleep(0.002); end loop;
                 return new;
             end $$;
             create trigger gate before update on weir.imports for each row execute function public.wait_at_gate()";
        self.database.client.batch_execute(sql).await.expect("made");
    }

    async fn open_gate(&self, behind: usize) {
        let sql = format!("update public.gate set behind = {behind}");
        self.database.client.batch_execute(&sql).await.expect("moved");
    }

    /// Nothing is lost or invented, neither by import nor by source.
    async fn assert_accounted(&self) {
        let sql = "select count(*) from weir.import_accounting where unexplained <> 0 or read <> stored + duplicate + quarantined + refused + outside";
        assert_eq!(self.database.number(sql).await, 0);
        let sql = "select unexplained, pending, stored = (select count(*) from analytics.events) from weir.accounting";
        assert_eq!(self.rows(sql).await, ["0|0|t"]);
    }
}

/// Events of weir's own, of `days` days of 2023, the n-th with the id `n`.
fn lines(range: std::ops::Range<usize>, days: usize) -> String {
    range
        .map(|n| {
            let (day, second) = (n % days + 1, n % 60);
            format!(
                "{{\"id\":\"{n}\",\"name\":\"signup\",\"timestamp\":\"2023-03-{day:02}T10:00:{second:02}Z\",\"user_id\":\"{}\",\"properties\":{{\"n\":{n}}}}}\n",
                n % 100
            )
        })
        .collect()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A file of each product, true to what each documents: where is said in `src/import/exports.rs` and `src/import/ga4.rs`.
const EXPORTS: [(&str, &str); 8] = [
    (
        "a/own.ndjson",
        "{\"type\":\"page\",\"id\":\"o1\",\"timestamp\":\"2024-03-01T10:00:00Z\",\"url\":\"https://a.example/own?utm_source=news\",\"visitor_id\":\"v1\",\"colour\":\"red\"}\n",
    ),
    (
        "b/table.csv",
        "\u{feff}Event ID;Time;Event;Url;User Agent;Plan\nc1;2024-03-01 10:00:01;\"said \"\"hi\"\"\";https://a.example/csv;\"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\";team\n",
    ),
    (
        "segment-logs/x/1709251200000/1709287200000.segment.json",
        "{\"anonymousId\":\"v3\",\"channel\":\"client\",\"context\":{\"ip\":\"203.0.113.7\",\"locale\":\"de-DE\",\"page\":{\"url\":\"https://a.example/segment\"}},\"event\":\"Signed Up\",\"integrations\":{},\"messageId\":\"s1\",\"originalTimestamp\":\"2024-03-01T10:00:02.000Z\",\"properties\":{\"plan\":\"team\"},\"receivedAt\":\"2024-03-01T10:00:03.300Z\",\"sentAt\":\"2024-03-01T10:00:03.000Z\",\"timestamp\":\"2024-03-01T10:00:02.300Z\",\"type\":\"track\",\"userId\":\"u3\",\"version\":1}\n",
    ),
    (
        "posthog/events.jsonl",
        "{\"uuid\":\"018e1\",\"event\":\"$pageview\",\"distinct_id\":\"u4\",\"person_id\":\"p\",\"team_id\":1,\"timestamp\":\"2024-03-01T10:00:03.000000+00:00\",\"properties\":{\"$current_url\":\"https://a.example/posthog\",\"$browser\":\"Firefox\",\"$os\":\"Linux\",\"$geoip_country_code\":\"DE\",\"$geoip_city_name\":\"Berlin\",\"$device_id\":\"d4\"}}\n",
    ),
    (
        "posthog/api.json",
        "[\n {\"id\":\"018e2\",\"distinct_id\":\"u4\",\"properties\":{\"amount\":7},\"event\":\"paid\",\n  \"timestamp\":\"2024-03-01T10:00:04Z\",\"person\":null,\"elements\":[],\"elements_chain\":\"\"}\n]\n",
    ),
    (
        "plausible/events_v2.json",
        "{\"timestamp\":\"2024-03-01 10:00:05\",\"name\":\"pageview\",\"site_id\":\"1\",\"user_id\":\"17905468273405372342\",\"session_id\":\"42\",\"hostname\":\"a.example\",\"pathname\":\"/plausible\",\"referrer\":\"google.com\",\"country_code\":\"FR\",\"subdivision1_code\":\"FR-75\",\"screen_size\":\"Desktop\",\"operating_system\":\"Mac\",\"browser\":\"Safari\",\"browser_version\":\"17\",\"utm_source\":\"\",\"meta.key\":[\"plan\"],\"meta.value\":[\"team\"]}\n",
    ),
    (
        "umami/website_event.csv",
        "website_id,session_id,visit_id,event_id,hostname,browser,os,device,screen,language,country,region,city,url_path,url_query,utm_source,referrer_path,referrer_query,referrer_domain,page_title,gclid,event_type,event_name,tag,distinct_id,created_at,job_id\nw,v7,s7,e7,a.example,chrome,Windows 10,laptop,1920x1080,de-DE,DE,DE-BE,Berlin,/umami,utm_source=news,news,/search,,google.com,Umami,,1,,,,2024-03-01 10:00:06,\n",
    ),
    (
        "ga4/events_20240301.json",
        "{\"event_date\":\"20240301\",\"event_timestamp\":\"1709287207000000\",\"event_name\":\"purchase\",\"event_params\":[{\"key\":\"page_location\",\"value\":{\"string_value\":\"https://a.example/ga4\"}},{\"key\":\"value\",\"value\":{\"double_value\":1.5}},{\"key\":\"ga_session_id\",\"value\":{\"int_value\":\"99\"}}],\"user_pseudo_id\":\"12.34\",\"device\":{\"category\":\"mobile\",\"operating_system\":\"iOS\",\"web_info\":{\"browser\":\"Safari\"}},\"geo\":{\"country\":\"Germany\",\"city\":\"Berlin\"},\"collected_traffic_source\":{\"manual_source\":\"news\"},\"items\":[]}\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_exports_of_every_product_become_rows() {
    let place = Place::new().await;
    for (name, text) in EXPORTS {
        place.file(&format!("all/{name}"), text);
    }
    place.file("all/posthog/manifest.json", "{\"files\":[]}");
    let ran = place.import(&["all"]).await;
    assert_eq!((ran.code, ran.counts()), (Some(0), [8, 0, 8, 0, 0, 0]), "{}", ran.json);
    insta::assert_snapshot!(
        place
            .rows(
                "select to_char(occurred_at, 'HH24:MI:SS.MS'), kind, name, visitor_id is not null as v, user_id, session_id, url, host, referrer_host, utm_source,
                        host(ip), country, region, city, browser, os, device, language, screen, properties::text, context::text
                   from analytics.events order by occurred_at"
            )
            .await
            .join("\n")
    );
    let again = place.import(&["all"]).await;
    assert_eq!((again.code, again.counts()), (Some(0), [8, 8, 0, 0, 0, 0]));
    place.assert_accounted().await;
    // Its day is what rollups have to look at.
    let hours =
        "select count(distinct hour) from weir.touched, unnest(hours) hour where hour = '2024-03-01 10:00:00+00'";
    assert_eq!(place.database.number(hours).await, 1);

    let sums = place.file(
        "imported_visitors_20240101_20240301.csv",
        "date,visitors,pageviews,bounces,visits,visit_duration\n2024-01-01,1,2,0,1,30\n",
    );
    let ran = place.import(&[path(&sums)]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.json["files"][0]["error"].as_str().expect("told").contains("events_v2"), "{}", ran.json);
    let mut typo = Command::new(env!("CARGO_BIN_EXE_weir"));
    typo.args(["import", "--source", "wep", "all"])
        .current_dir(place.dir.path())
        .env("DATABASE_URL", &place.database.url);
    let output = within("an import", typo.output()).await.expect("it ran");
    assert!(String::from_utf8_lossy(&output.stderr).contains("weir source add wep"), "{output:?}");
    assert_eq!(place.stored().await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn however_often_and_in_whatever_pieces_each_record_is_there_once() {
    let place = Place::new().await;
    let text = lines(0..3_000, 28);
    let whole = place.file("whole.ndjson", &text);
    // Both at once: one of them waits.
    let arguments = [path(&whole)];
    let (one, other) = tokio::join!(place.import(&arguments), place.import(&arguments));
    assert_eq!((one.code, other.code), (Some(0), Some(0)), "{} {}", one.stderr, other.stderr);
    assert_eq!(one.counts()[1] + one.counts()[2], 3_000);
    assert_eq!(one.counts()[2] + other.counts()[2], 3_000);
    assert_eq!(place.stored().await, 3_000);
    let again = place.import(&[path(&whole)]).await;
    assert_eq!(again.counts(), [3_000, 3_000, 0, 0, 0, 0]);

    // Packed, through a pipe, in parts, in another order: the ids are the same.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("memory");
    let gzip = gzip.finish().expect("memory");
    let zstd = zstd::encode_all(text.as_bytes(), 1).expect("memory");
    let packed = place.file("packed.gz", &gzip);
    assert_eq!(place.import(&[path(&packed)]).await.counts(), [3_000, 3_000, 0, 0, 0, 0]);
    assert_eq!(place.import_with(place.command(&["-"]), &zstd).await.counts(), [3_000, 0, 0, 3_000, 0, 0]);
    let reversed: String = text.lines().rev().flat_map(|line| [line, "\n"]).collect();
    let reversed = place.file("reversed.ndjson", reversed);
    assert_eq!(place.import(&[path(&reversed)]).await.counts(), [3_000, 0, 0, 3_000, 0, 0]);

    // A file that has grown goes on; one that begins like it and is another begins anew.
    let grown = place.file("whole.ndjson", text.clone() + &lines(3_000..3_500, 28));
    assert_eq!(place.import(&[path(&grown)]).await.counts(), [3_500, 3_000, 500, 0, 0, 0]);
    let changed =
        place.file("whole.ndjson", text.replace("\"id\":\"2999\"", "\"id\":\"x999\"") + &lines(3_000..3_500, 28));
    assert_eq!(place.import(&[path(&changed)]).await.counts(), [3_500, 0, 1, 3_499, 0, 0]);
    place.assert_accounted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_when_weir_had_begun_is_left_out_and_counted() {
    let place = Place::new().await;
    // Of each of ten days one; one without a time, which is refused whatever is wanted.
    let text = lines(0..10, 10) + "{\"name\":\"never\"}\n";
    let file = place.file("all.ndjson", &text);
    let outside = |ran: &Ran| ran.json["outside"].as_u64();
    let until = async |until: &'static str, more: &[&str]| {
        place.import(&[&["--until", until, path(&file)], more].concat()).await
    };
    let dry = until("2023-03-04", &["--dry-run"]).await;
    assert_eq!((dry.json["can_be_stored"].as_u64(), outside(&dry)), (Some(3), Some(7)), "{}", dry.json);
    let ran = until("2023-03-04", &[]).await;
    assert_eq!((ran.code, ran.counts(), outside(&ran)), (Some(SOME_REFUSED), [11, 0, 3, 0, 1, 0], Some(7)));
    assert_eq!(until("2023-03-04", &[]).await.counts(), [11, 11, 0, 0, 0, 0], "the same file, once");
    // The fifth is at :04, and the moment itself is outside; another moment is another import.
    let ran = until("2023-03-05T10:00:04Z", &[]).await;
    assert_eq!((ran.counts(), outside(&ran)), ([11, 0, 1, 3, 1, 0], Some(6)));
    let ran = until("2023-03-05T10:00:04.001Z", &[]).await;
    assert_eq!((ran.counts(), outside(&ran)), ([11, 0, 1, 4, 1, 0], Some(5)));
    let whole = place.import(&[path(&file)]).await;
    assert_eq!((whole.counts(), outside(&whole)), ([11, 0, 5, 5, 1, 0], Some(0)));
    place.assert_accounted().await;
    let wrong = until("2023-03-05T10:00:04", &[]).await;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("with a time zone"), "{}", wrong.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_an_id_are_known_by_what_they_say() {
    let place = Place::new().await;
    let header = "time,event,user_id\n";
    let hits = [
        "2023-03-01 10:00:00,hit,a\n",
        "2023-03-01 10:00:00,hit,a\n",
        "2023-03-01 10:00:00,hit,b\n",
        "2023-03-01 10:00:01,hit,a\n",
    ];
    let file = place.file("log.csv", header.to_owned() + &hits.concat());
    // Two hits of one second are two.
    assert_eq!(place.import(&[path(&file)]).await.counts(), [4, 0, 4, 0, 0, 0]);
    let other = place.file("other.csv", header.to_owned() + hits[3] + hits[0] + hits[2] + hits[1]);
    assert_eq!(place.import(&[path(&other)]).await.counts(), [4, 0, 0, 4, 0, 0]);
    let part = place.file("part.csv", header.to_owned() + hits[2] + hits[3]);
    assert_eq!(place.import(&[path(&part)]).await.counts(), [2, 0, 0, 2, 0, 0]);
    place.assert_accounted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_goes_on_where_it_was() {
    const RECORDS: usize = 20_000;
    // A quarter of a megabyte a transaction.
    const FLUSH_BYTES: &str = "65536";
    let place = Place::new().await;
    // Equal records without an id, too.
    let text: String = lines(0..RECORDS, 28)
        .lines()
        .enumerate()
        .map(|(n, line)| match n % 10 {
            0 => format!("{{\"name\":\"hit\",\"timestamp\":\"2023-03-01T10:00:{:02}Z\"}}\n", n % 60),
            1 => "not JSON\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    let file = place.file("events.ndjson", &text);
    place.make_gate().await;
    let mut random = SplitMix64::new(7);
    let (mut kills, mut between) = (0, 0);
    for _ in 0..20 {
        let before = place.stored().await;
        let read = place.database.number("select coalesce(max(read), 0) from weir.imports").await as usize;
        if read > RECORDS * 8 / 10 {
            break;
        }
        place.open_gate(read + 1 + random.next() as usize % 1_800).await;
        let mut command = place.command(&[path(&file)]);
        command.stdin(Stdio::null()).env("WEIR_FLUSH__BYTES_MAX", FLUSH_BYTES);
        let mut child = command.spawn().expect("it starts");
        // At a random moment once the first rows of this life are there, or before.
        let delay = Duration::from_millis(random.next() % 40);
        if random.next().is_multiple_of(4) {
            tokio::time::sleep(delay * 4).await;
        } else {
            eventually("the first rows of this life", async || place.stored().await != before).await;
            tokio::time::sleep(delay).await;
        }
        child.kill().await.expect("ours");
        kills += 1;
        // What it had sent may still commit.
        let stored = usize::try_from(place.stored().await).expect("a count");
        between += i32::from(stored > 0 && stored < RECORDS * 9 / 10);
    }
    assert!(between > 1, "{kills} kills, {between} in the midst of the file");
    place.open_gate(RECORDS).await;
    let last = place.import(&[path(&file)]).await;
    assert_eq!(last.counts()[0], RECORDS as u64, "{}", last.stderr);
    assert_eq!(last.code, if last.counts()[4] > 0 { Some(SOME_REFUSED) } else { Some(0) }, "{}", last.stderr);
    assert_eq!(place.stored().await as usize, RECORDS * 9 / 10);
    let ids = "select count(distinct properties->>'n') from analytics.events where name = 'signup'";
    assert_eq!(place.database.number(ids).await as usize, RECORDS * 8 / 10);
    let imports = "select count(*), sum(read), sum(stored), sum(duplicate), sum(refused) from weir.import_accounting";
    assert_eq!(place.rows(imports).await, [format!("1|{RECORDS}|{}|0|{}", RECORDS * 9 / 10, RECORDS / 10)]);
    place.assert_accounted().await;
    eprintln!("{kills} kills, {between} of them in the midst of the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_takes_rows_and_position_back_together() {
    const RECORDS: usize = 30_000;
    const IN_MEMORY: &str = "wal_buffers = 64MB\nshared_buffers = 256MB\nbgwriter_lru_maxpages = 0\n";
    // Nobody writes down commits that are not waited for: they are in memory alone, where the crash finds them.
    let mut server = Server::start_with(IN_MEMORY).await;
    server.signal("walwriter", Signal::STOP).await;
    let mut place =
        Place { database: server.make_database(None).await, dir: tempfile::tempdir().expect("a directory") };
    first_source(&place.database.url).await;
    let file = place.file("events.ndjson", lines(0..RECORDS, 28));
    place.make_gate().await;
    place.open_gate(RECORDS / 2).await;
    // A quarter of a megabyte a transaction.
    let mut command = place.command(&[path(&file)]);
    command.stdin(Stdio::null()).env("WEIR_FLUSH__BYTES_MAX", "65536");
    let child = command.spawn().expect("it starts");
    let mut seen = 0;
    eventually("it is in the midst of the file", async || {
        seen = place.stored().await;
        seen > 5_000
    })
    .await;
    server.signal("walwriter", Signal::KILL).await;
    server.end(End::Immediate);
    server.start().await;
    place.database = server.database().await;
    place.open_gate(RECORDS).await;
    let kept = place.stored().await;
    assert!(kept < seen && seen < RECORDS as i64, "{kept} of {seen} are there after the crash");
    let output = within("it notices", child.wait_with_output()).await.expect("it ran");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1), "{json}");
    assert!(
        json["files"][0]["error"].as_str().is_some_and(|error| error.contains("the same command goes on")),
        "{json}"
    );
    let unexplained = "select count(*) from weir.import_accounting where unexplained <> 0";
    assert_eq!(place.database.number(unexplained).await, 0);

    let left = place.stored().await as u64;
    let again = place.import(&[path(&file)]).await;
    assert_eq!((again.code, again.counts()), (Some(0), [RECORDS as u64, left, RECORDS as u64 - left, 0, 0, 0]));
    let ids = "select count(distinct properties->>'n') from analytics.events";
    assert_eq!((place.stored().await, place.database.number(ids).await), (RECORDS as i64, RECORDS as i64));
    let imports = "select count(*), sum(read), sum(stored), sum(duplicate), sum(refused) from weir.import_accounting";
    assert_eq!(place.rows(imports).await, [format!("1|{RECORDS}|{RECORDS}|0|0")]);
    place.assert_accounted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_named_and_what_postgresql_refuses_is_in_quarantine() {
    let place = Place::new().await;
    let client = &place.database.client;
    client
        .batch_execute("alter table analytics.events add constraint no_seven check (user_id <> '7')")
        .await
        .expect("added");
    let old = "when,what,who,secret,n\n";
    let rows = [
        "2023-03-01,buy,1,s,1\n",
        "yesterday,buy,2,s,2\n",
        "2023-03-01,buy,7,s,3\n",
        ",buy,4,s,4\n",
        "1901-01-01,buy,5,s,5\n",
        "2023-03-01,buy\n",
        "2023-03-02,\"two\nlines\",6,s,6\n",
    ];
    let file = place.file("table.csv", old.to_owned() + &rows.concat());
    let map = [
        "--map",
        "when=timestamp",
        "--map",
        "what=name",
        "--map",
        "who=user_id",
        "--map",
        "secret=-",
        "--map",
        "n=properties.count",
    ];
    let with = |more: &[&'static str]| [&map[..], more].concat();

    let mut dry = with(&["--dry-run"]);
    dry.push(path(&file));
    let ran = place.import(&dry).await;
    assert_eq!(ran.code, Some(SOME_REFUSED), "{}", ran.stderr);
    assert_eq!((ran.json["read"].as_u64(), ran.json["can_be_stored"].as_u64()), (Some(7), Some(3)));
    assert_eq!(ran.json["files"][0]["rows"][2]["properties"]["count"], "6");
    assert_eq!(place.stored().await, 0);
    assert_eq!(place.database.number("select count(*) from weir.imports").await, 0);

    let mut wet = with(&["--rejects", "rejects"]);
    wet.push(path(&file));
    let ran = place.import(&wet).await;
    assert_eq!((ran.code, ran.counts()), (Some(SOME_REFUSED), [7, 0, 2, 0, 4, 1]), "{}", ran.stderr);
    let rejects = std::fs::read_to_string(place.dir.path().join("rejects")).expect("written");
    assert_eq!(rejects, [rows[1], rows[3], rows[4], rows[5]].concat());
    let refusals = place.rows("select line, reason from weir.import_refusals order by line").await;
    let expected = [
        "3|timestamp: expected RFC 3339 with a time zone, as 2026-11-22T10:00:00.123Z, or Unix milliseconds",
        "5|there is no timestamp: an import must say when each event happened",
        "6|the timestamp \"1901-01-01T00:00:00Z\" is more than 20 years ago, or lies in the future",
        "7|the record: it has 2 fields, and the header 5",
    ];
    assert_eq!(refusals, expected);
    assert_eq!(
        place.rows("select name, user_id, properties::text from analytics.events order by occurred_at").await,
        ["buy|1|{\"count\": \"1\"}", "two\nlines|6|{\"count\": \"6\"}"]
    );
    place.assert_accounted().await;

    // Mended, and sent again: no record becomes two.
    client.batch_execute("alter table analytics.events drop constraint no_seven").await.expect("dropped");
    let mut replay = Command::new(env!("CARGO_BIN_EXE_weir"));
    replay.args(["quarantine", "replay"]).env("DATABASE_URL", &place.database.url).current_dir(place.dir.path());
    assert!(within("a replay", replay.status()).await.expect("it ran").success());
    assert_eq!(place.stored().await, 3);
    place.assert_accounted().await;
    let mended = place.file("mended.csv", old.to_owned() + &rejects.replace("yesterday", "2023-03-03"));
    let mut again = with(&[]);
    again.push(path(&mended));
    assert_eq!(place.import(&again).await.counts(), [4, 0, 1, 0, 3, 0]);
    let wrong = place.import(&["--map", "colour=name", path(&mended)]).await;
    assert!(wrong.json["files"][0]["error"].as_str().is_some_and(|error| error.contains("colour")), "{}", wrong.json);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_kept_as_the_settings_say_and_rollups_follow_it() {
    let place = Place::new().await;
    place.file(
        "weir.toml",
        "[[retention.rules]]\nsource = \"web\"\nkind = \"click\"\nkeep = \"30 days\"\n[privacy]\nip = \"none\"\n",
    );
    let text: String = (1..=20)
        .map(|n| {
            let kind = if n == 20 { "click" } else { "page" };
            format!(
                "{{\"type\":\"{kind}\",\"id\":\"{n}\",\"timestamp\":\"2023-03-{:02}T10:00:{n:02}Z\",\"url\":\"https://a.example/{n}\",\"ip\":\"203.0.113.7\",\"user_agent\":\"UA\"}}\n",
                n % 2 + 1
            )
        })
        .collect();
    let ran = place.import_with(place.command(&["-"]), text.as_bytes()).await;
    assert_eq!((ran.code, ran.counts()), (Some(SOME_REFUSED), [20, 0, 19, 0, 1, 0]), "{}", ran.stderr);
    assert!(ran.stderr.contains("[retention]"), "{}", ran.stderr);
    assert_eq!(ran.json["files"][0]["reasons"][0]["label"], "expired");
    // One visitor a day, who is another the next day.
    let visitors =
        "select count(distinct visitor_id), count(distinct occurred_at::date), count(ip) from analytics.events";
    assert_eq!(place.rows(visitors).await, ["2|2|0"]);
    let mut rollups = Command::new(env!("CARGO_BIN_EXE_weir"));
    rollups.args(["rollup", "run"]).env("DATABASE_URL", &place.database.url).current_dir(place.dir.path());
    let output = within("rollups", rollups.output()).await.expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.database.number("select sum(page_views)::bigint from analytics.pages_daily").await, 19);
}
