//! Days as Parquet before they go: read by DuckDB, which is not ours, and compared with what PostgreSQL had.

use std::path::{Path, PathBuf};

use tokio::process::Command;
use weir::config::Config;
use weir::retention::{Action, Upkeep, archive};
use weir::row::{COLUMNS, Kind};

use crate::retention::{attempt, day, event, keep, run, send, upkeep};
use crate::support::{TestDatabase, collector, tool};

/// `None` if this machine has no DuckDB.
pub async fn duckdb(sql: &str) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/archive/query.py");
    let output = Command::new(tool("WEIR_TEST_PYTHON")?).arg(script).arg(sql).output().await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect())
}

/// An expression that is the same text in both databases, whatever is in the columns.
pub fn whole_row(microseconds: &str, address: &str) -> String {
    let columns = COLUMNS.iter().map(|(name, kind)| {
        let text = match kind {
            Kind::Time => microseconds.replace('?', name),
            Kind::Inet => address.replace('?', name),
            _ => format!("cast({name} as varchar)"),
        };
        format!("coalesce(cast({text} as varchar), '-')")
    });
    columns.collect::<Vec<_>>().join(" || '|' || ")
}

fn archiving(config: &Config, dir: &Path) -> Upkeep {
    let mut settings = keep("30 days", &[]);
    settings.archive_dir = Some(dir.to_owned());
    upkeep(config, settings)
}

async fn rows_of_postgres(database: &TestDatabase) -> Vec<String> {
    let row = whole_row("(extract(epoch from ?) * 1000000)::bigint", "abbrev(?)");
    database
        .rows(&format!(
            "select {row} from analytics.events where occurred_at < now() - interval '35 days' order by event_id"
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_day_is_the_same_in_duckdb() {
    let (database, collector, _journal) = collector(|config| config.privacy.ip = weir::config::IpPolicy::Full).await;
    let at = |second: u32| format!("{}T12:00:{second:02}.123456Z", day(40));
    let mut events: Vec<String> = (0..50)
        .map(|n| {
            format!(
                r#"{{"type":"page","name":"a{n}","id":"{n}","timestamp":"{}","sent_at":"{}","visitor_id":"v{}","ip":"{}","user_agent":"curl/8",
                    "url":"https://a.example/ä?utm_source=x&n={n}","properties":{{"n":{n},"deep":[1.50,null,"\"\\\u00e9\n"],"big":12345678901234567890123}}}}"#,
                at(n % 60), at(n % 60), n % 7, if n % 2 == 0 { "203.0.113.9" } else { "2001:db8::1" }
            )
        })
        .collect();
    events.push(event(41, "page", "another day"));
    events.push(event(0, "page", "today"));
    send(&collector, &events).await;
    database.until_stored(52).await;
    database.client.batch_execute("alter table analytics.events add column score numeric; update analytics.events set score = 0.50 where name = 'a1'").await.expect("added");
    // So large that they are handed over in several lots.
    let large = "update analytics.events set properties = jsonb_build_object('x', repeat('x', 1000000)) where name ~ '^a[2-6]$'";
    database.client.batch_execute(large).await.expect("enlarged");
    let expected = rows_of_postgres(&database).await;
    assert_eq!(expected.len(), 51);

    let dir = tempfile::tempdir().expect("a directory");
    let steps = run(&archiving(&collector.config, dir.path())).await;
    let archived: i64 = steps.iter().filter(|step| step.action == Action::Archived).map(|step| step.rows).sum();
    assert_eq!((steps.len(), archived), (4, 51), "{steps:?}");
    assert_eq!(database.number("select count(*) from analytics.events").await, 1);
    let files = archive::files(dir.path()).expect("listed");
    let days: Vec<PathBuf> = files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
    assert_eq!(days, [41, 40].map(|ago| dir.path().join(format!("date={}", day(ago)))));
    let noted = "select detail from weir.retention_runs where action = 'archived' order by day";
    assert_eq!(database.rows(noted).await, files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>());

    let from = format!("from read_parquet('{}/*/*.parquet', hive_partitioning = true)", dir.path().display());
    let Some(rows) = duckdb(&format!("select {} {from} order by event_id", whole_row("epoch_us(?)", "?"))).await else {
        return;
    };
    assert_eq!(rows, expected);
    let types = format!(
        "select typeof(event_id), typeof(occurred_at), typeof(is_bot), typeof(properties), typeof(ip), typeof(score), typeof(date) {from} limit 1"
    );
    assert_eq!(
        duckdb(&types).await.expect("asked before"),
        ["UUID|TIMESTAMP WITH TIME ZONE|BOOLEAN|JSON|VARCHAR|VARCHAR|DATE"]
    );
    let questions = format!(
        "select date, count(*), sum(cast(properties ->> 'n' as int)), max(score) {from} group by date order by date"
    );
    let answers = [format!("{}|1||", day(41)), format!("{}|50|1205|0.50", day(40))];
    assert_eq!(duckdb(&questions).await.expect("asked before"), answers);
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_archive_no_day_is_dropped() {
    let (database, collector, _journal) = collector(|_| {}).await;
    send(&collector, &[event(40, "page", "a"), event(40, "page", "b")]).await;
    database.until_stored(2).await;
    // A file where the directory has to be: as with a disk that is full, nothing can be written.
    let dir = tempfile::tempdir().expect("a directory");
    let blocked = dir.path().join("archive");
    std::fs::write(&blocked, "").expect("written");
    let upkeep = archiving(&collector.config, &blocked);
    let error = attempt(&upkeep).await.expect_err("it cannot be written").to_string();
    assert!(error.starts_with("archive: ") && error.contains("archive/date="), "{error}");
    let detached = "select 'weir.' || relname from pg_class where relname like 'expired_%' and relkind = 'r'";
    let table = database.rows(detached).await.remove(0);
    assert_eq!(database.number(&format!("select count(*) from {table}")).await, 2);
    // Half a file of an attempt that was cut short is in the way of nothing.
    std::fs::remove_file(&blocked).expect("removed");
    let place = blocked.join(format!("date={}", day(40)));
    std::fs::create_dir_all(&place).expect("made");
    let digits = table.rsplit('_').next().expect("digits");
    std::fs::write(place.join(format!("events-{digits}.new")), "half").expect("written");
    let steps = run(&upkeep).await;
    assert_eq!(
        steps.iter().map(|step| (step.action, step.rows)).collect::<Vec<_>>(),
        [(Action::Archived, 2), (Action::Dropped, 2)]
    );
    let names: Vec<_> =
        std::fs::read_dir(&place).expect("a directory").map(|file| file.expect("readable").file_name()).collect();
    assert_eq!(names, [format!("events-{digits}.parquet").as_str()]);
    collector.stop().await;
}
