//! `docs/tables.md` is what the database itself says of its tables: `WEIR_README=1` writes it.

use std::fmt::Write as _;
use std::path::Path;

use weir::rollup::library::Library;

use crate::support::TestDatabase;
use crate::support::rollups::{define, engine};

const INTRODUCTION: &str = "# Tables

Every table and column for people, as the database describes them: psql's `\\d+` and the console's editor show the same. The page is made
from there by a test. NULL means that nobody said.

";
const ROLLUPS: &str = "# Rollups

Tables that follow the events ([rollups.md](rollups.md) says how, and what a visit and a bounce are). In all of them `bucket` is the start of the
hour or day (UTC), and `source` whose write key the events came with. `visitors`, `visits`, `page_views`, `events`, `views` count; rates are
shares from 0 to 1; what ends in `_s` or `_ms` is a time, and `_p75` what three of four were no worse than. Dimensions are called as in
`analytics.events`. Yours are here, too, once their files are.

";
const FUNCTIONS: &str = "# Functions

";
const OPERATORS: &str = "# For operators

Tables of weir's own that answer questions. Only weir's role reads them, and the console's Operate. What else there is:
[the schema](../schema/README.md).

";

/// In this order.
const FOR_PEOPLE: [&str; 6] = [
    "analytics.events",
    "analytics.page_views",
    "analytics.clicks",
    "analytics.people",
    "analytics.identities",
    "analytics.usage",
];
const FOR_OPERATORS: [&str; 16] = [
    "weir.accounting",
    "weir.quarantine",
    "weir.removed",
    "weir.retention_runs",
    "weir.forget_requests",
    "weir.rollups",
    "weir.rollup_runs",
    "weir.sources",
    "weir.write_keys",
    "weir.usage_days",
    "sync.sources",
    "sync.runs",
    "sync.rejects",
    "sync.replication_status",
    "sync.changes",
    "sync.broken_views",
];

/// Name, type and comment of each column, one a row; `=` where a column is without one, and of the same name in the events.
const COLUMNS: &str =
    "select a.attname, replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz'),
        coalesce(col_description(a.attrelid, a.attnum), case when e.attname is not null then '=' else '' end)
    from pg_attribute a
    left join pg_attribute e on e.attrelid = 'analytics.events'::regclass and e.attname = a.attname and e.attnum > 0
    where a.attrelid = '{}'::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum";

async fn comment(database: &TestDatabase, relation: &str) -> String {
    let sql = format!("select coalesce(obj_description('{relation}'::regclass), '')");
    database.rows(&sql).await.concat()
}

async fn columns(database: &TestDatabase, relation: &str) -> Vec<[String; 3]> {
    let rows = database.rows(&COLUMNS.replace("{}", relation)).await;
    let parted = rows.iter().map(|row| {
        let mut parts = row.splitn(3, '|').map(ToOwned::to_owned);
        [(); 3].map(|()| parts.next().expect("three columns"))
    });
    parted.collect()
}

/// A relation of which each column has a comment.
async fn described(database: &TestDatabase, relation: &str) -> String {
    let comment = comment(database, relation).await;
    assert!(!comment.is_empty(), "{relation} has no comment");
    let mut text = format!("## {relation}\n\n{comment}\n\n");
    let (same, own): (Vec<_>, Vec<_>) =
        columns(database, relation).await.into_iter().partition(|[_, _, comment]| comment == "=");
    if !own.is_empty() {
        text.push_str("| column | type | meaning |\n| --- | --- | --- |\n");
    }
    for [name, kind, comment] in &own {
        assert!(!comment.is_empty(), "{relation}.{name} has no comment");
        let _ = writeln!(text, "| `{name}` | `{kind}` | {} |", comment.replace('|', "\\|"));
    }
    if !own.is_empty() {
        text.push('\n');
    }
    if !same.is_empty() {
        let names: Vec<String> = same.iter().map(|[name, ..]| format!("`{name}`")).collect();
        let _ = writeln!(text, "As in `analytics.events`: {}.\n", names.join(", "));
    }
    text
}

/// A rollup: its description, and its columns in a line.
async fn rollup(database: &TestDatabase, name: &str) -> String {
    let comment = comment(database, &format!("analytics.{name}")).await;
    let columns = columns(database, &format!("analytics.{name}")).await;
    let named: Vec<String> = columns.iter().map(|[name, kind, _]| format!("`{name}` {kind}")).collect();
    format!("## analytics.{name}\n\n{comment}\n\n{}.\n\n", named.join(", "))
}

async fn page(database: &TestDatabase) -> String {
    let mut page = INTRODUCTION.to_owned();
    for relation in FOR_PEOPLE {
        page.push_str(&described(database, relation).await);
    }
    page.push_str(ROLLUPS);
    for name in database.rows("select name from weir.rollups order by name").await {
        page.push_str(&rollup(database, &name).await);
    }
    page.push_str(FUNCTIONS);
    let functions = "select p.proname, replace(pg_get_function_arguments(p.oid), 'timestamp with time zone', 'timestamptz'), pg_get_function_result(p.oid), coalesce(obj_description(p.oid), '')
        from pg_proc p where p.pronamespace = 'analytics'::regnamespace order by 1";
    for function in database.rows(functions).await {
        let [name, arguments, result, comment] =
            function.splitn(4, '|').collect::<Vec<_>>().try_into().expect("four columns");
        assert!(!comment.is_empty(), "{name} has no comment");
        let _ = write!(
            page,
            "## analytics.{name}\n\n{comment}\n\n```sql\nanalytics.{name}({arguments})\n  returns {result}\n```\n\n"
        );
    }
    page.push_str(OPERATORS);
    for relation in FOR_OPERATORS {
        page.push_str(&described(database, relation).await);
    }
    page.trim_end().to_owned() + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_tables_is_what_the_database_says() {
    let database = TestDatabase::new().await;
    let engine = engine(&database).await;
    define(&engine, &Library { dir: "/nowhere".into(), with_shipped: true }).await;
    // Nothing for people is left out: partitions aside, and those of rollups.
    let others = "select count(*) from pg_class c where c.relnamespace = 'analytics'::regnamespace and c.relkind in ('r', 'v', 'm', 'p')
        and not c.relispartition and c.relname not in (select name from weir.rollups)";
    assert_eq!(database.number(others).await, FOR_PEOPLE.len() as i64);
    let page = page(&database).await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tables.md");
    if std::env::var_os("WEIR_README").is_some() {
        std::fs::write(path, page).expect("written");
        return;
    }
    let found = std::fs::read_to_string(path).expect("docs/tables.md");
    let differs = found.lines().zip(page.lines()).find(|(found, made)| found != made);
    assert!(
        found == page,
        "WEIR_README=1 cargo test the_page_of_tables writes it; the first line that differs: {differs:?}"
    );
}
