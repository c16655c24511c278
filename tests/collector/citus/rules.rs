//! Citus' rules, checked on plain PostgreSQL: with every change, and not only where there is a cluster.
//!
//! Looked at is every `.sql` file of the program and every text in its code that names the events, a partition of theirs, or
//! something that reads them; the views and functions of a database that is up to date; and what stands on its events table. A
//! table is named in a text or it is not reached at all, so a new statement is found without being listed. What a rule excuses
//! has a comment `citus: REASON` in the statement.
//!
//! Each rule was found by trying (docs/citus.md), and has a statement that breaks it.

use super::texts::{self, Text};
use crate::support::{TestDatabase, citus, collector, first_source};

/// A text with one of these names touches the events. `{}` is a partition's name where a statement is put together.
const TOUCHES: &str = r"\manalytics\.(events|page_views|clicks|people|identities|person_events|funnel)\M|\mevents_default\M|\manalytics\.\{|\mweir\.\{expired\}|\m(from|into|only|table|update|join|partition) (only )?\{(table|leaf|name|)\}|\mweir_incoming\M|\m(from|join) within\M";
const IS_SQL: &str = r"\m(select|insert|update|delete|copy|alter|create|drop|lock|truncate|comment)\M";
/// Anything that is or may be the events table or a part of it.
const EVENTS: &str = r"((only )?(analytics\.(events\M|\{)|weir\.\{expired\}|\{(table|leaf)\})|only \{\})";

struct Rule {
    name: &'static str,
    /// What breaks it; `EVENTS` stands for the pattern.
    breaks: &'static str,
    /// What makes it right.
    unless: &'static str,
    /// A statement that breaks it, and one that does not.
    bad: &'static str,
    good: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "a distributed table has no triggers",
        breaks: r"\mtrigger\M.* on EVENTS",
        unless: "^$",
        bad: "create trigger t after insert on analytics.events for each row execute function f()",
        good: "create trigger t after insert on weir.touched for each row execute function f()",
    },
    Rule {
        name: "a unique index has the distribution column in it",
        breaks: r"create unique index[^;]* on EVENTS",
        unless: r"create unique index[^;]* on EVENTS[^;]*\([^)]*\mevent_id\M",
        bad: "create unique index i on analytics.{name} (source, received_at)",
        good: "create unique index i on analytics.{name} (event_id)",
    },
    Rule {
        name: "no other table refers to events, which are elsewhere",
        breaks: r"\mreferences EVENTS|alter table EVENTS [^;]*\mforeign key\M",
        unless: "^$",
        bad: "create table weir.x (id uuid references analytics.events)",
        good: "create table weir.x (id uuid references weir.imports)",
    },
    Rule {
        name: "rows of several shards cannot be locked",
        breaks: r"\m(from|join) EVENTS[^()]*\mfor (no key )?(update|key share|share)\M",
        unless: "^$",
        bad: "select event_id from analytics.events where source = $1 for update",
        good: "select id from weir.touched for update skip locked",
    },
    Rule {
        name: "what an insert with ON CONFLICT stored is counted by RETURNING",
        breaks: r"\minsert into EVENTS.*\mselect\M.*\mon conflict\M",
        unless: r"\mon conflict\M.*\mreturning\M",
        bad: "insert into analytics.events select * from weir_incoming on conflict do nothing",
        good: "insert into analytics.events select * from weir_incoming on conflict do nothing returning source",
    },
    Rule {
        name: "a recursive query cannot read events",
        breaks: r"\mwith recursive\M.*\m(from|join) EVENTS",
        unless: "^$",
        bad: "with recursive ids (id) as (select $1 union select user_id from analytics.events e, ids) select * from ids",
        good: "with recursive tree as (select 1) select * from tree",
    },
    Rule {
        name: "a row's place is one in each shard",
        breaks: r"(\mfrom EVENTS.*\mctid\M|\mctid\M.*\mfrom EVENTS)",
        unless: "^$",
        bad: "delete from only {table} where ctid = any (array (select place from theirs))",
        good: "delete from only {table} where event_id = any ($1)",
    },
    Rule {
        name: "the coordinator's own copy of a table is empty: its size says nothing",
        breaks: r"\m(pg_(table_size|relation_size|total_relation_size|indexes_size)|pg_stat_get_\w+|reltuples|relpages)\M.*'analytics\.events'::regclass|\mevents_default\M.*\mpg_relation_size\M",
        unless: "^$",
        bad: "select pg_table_size(inhrelid) from pg_inherits where inhparent = 'analytics.events'::regclass",
        good: "select count(*) from pg_inherits where inhparent = 'analytics.events'::regclass",
    },
    Rule {
        name: "tableoid is a worker's",
        breaks: r"\mtableoid\M",
        unless: "^$",
        bad: "select tableoid::regclass from analytics.events",
        good: "select occurred_at::date from analytics.events",
    },
    Rule {
        name: "a change of events has no volatile function",
        breaks: r"\m(delete from|update) EVENTS[^;]*\m(random|gen_random_uuid|clock_timestamp|timeofday|nextval)\(",
        unless: "^$",
        bad: "delete from analytics.events where random() < 0.1",
        good: "delete from analytics.events where occurred_at < now()",
    },
    Rule {
        name: "RETURNING of a change of events has immutable functions only",
        breaks: r"\m(delete from|update|insert into) EVENTS.*\mreturning\M[^;)]*\m(now|date_trunc|to_char|clock_timestamp)\(",
        unless: "^$",
        bad: "delete from analytics.events where source = $1 returning date_trunc('hour', occurred_at)",
        good: "delete from analytics.events where source = $1 returning source, occurred_at",
    },
    Rule {
        name: "the distribution column does not change",
        breaks: r"\mupdate EVENTS[^;]*\mset\M[^;]*\mevent_id =",
        unless: "^$",
        bad: "update analytics.events set event_id = $1 where event_id = $2",
        good: "update weir.quarantine set event_id = $1 where id = $2",
    },
    Rule {
        name: "a change of the table goes alone in its message, which Citus hands on whole",
        breaks: r"(alter table|create index|create unique index|alter index|drop table|drop index)[^;]* EVENTS[^;]*;.|;[^;]*(alter table|create (unique )?index|drop table)[^;]* EVENTS",
        unless: r"\mexecute (format\()?'alter table",
        bad: "set local lock_timeout = '5s'; alter table analytics.events add column note text",
        good: "alter table analytics.events attach partition analytics.{name} for values from (1) to (2)",
    },
    Rule {
        name: "a subquery beside events has a column",
        breaks: r"\mselect from (EVENTS|analytics\.|weir\.)",
        unless: "^$",
        bad: "select exists (select from only {table} limit 1)",
        good: "select exists (select 1 from only {table} limit 1)",
    },
    Rule {
        name: "whether there are any events is asked of one row: all of them would come",
        breaks: r"\mexists \(select 1 from EVENTS",
        unless: r"\mexists \(select 1 from EVENTS[^)]* limit 1\)",
        bad: "select exists (select 1 from analytics.events)",
        good: "select exists (select 1 from analytics.events limit 1)",
    },
    Rule {
        name: "grouping sets are of rollups",
        breaks: r"\mfrom EVENTS[^()]*\mgroup by (grouping sets|rollup|cube)\M",
        unless: "^$",
        bad: "select source, count(*) from analytics.events group by rollup (source)",
        good: "select source, count(*) from analytics.events group by source",
    },
    Rule {
        name: "events do not meet themselves but by event_id",
        breaks: r"\m(from|join) EVENTS[^()]*\mjoin EVENTS",
        unless: "^$",
        bad: "select count(*) from analytics.events a join analytics.events b on a.visitor_id = b.visitor_id",
        good: "select count(*) from analytics.events a join steps b on a.visitor_id = b.visitor_id",
    },
    Rule {
        name: "no subquery of events depends on the row of another table",
        breaks: r"\mlateral \(select[^()]* from EVENTS",
        unless: "^$",
        bad: "select s.source from weir.sources s, lateral (select 1 from analytics.events e where e.source = s.source) x",
        good: "select s.source from weir.sources s join (select distinct source from analytics.events) e using (source)",
    },
];

/// Texts which a rule excuses, each with its reason beside it.
const EXCUSED: [&str; 6] = [
    "src/doctor/sql/citus_left.sql",
    "src/retention/sql/detach.sql",
    "src/retention/sql/forget_rows.sql",
    "src/retention/sql/leaves.sql",
    "src/retention/sql/rule_delete.sql",
    "src/rollup/sql/mark_all.sql",
];
/// Where there is no doubt that events are touched: not to find them would mean that nothing is looked at.
const SURELY: [&str; 11] = [
    "src/columnar/copy.rs",
    "src/console/dashboard/sql/within.sql",
    "src/console/sql/live.sql",
    "src/doctor/sql/addresses.sql",
    "src/flush/careful.rs",
    "src/flush/partitions.rs",
    "src/flush/sql/careful_store_all.sql",
    "src/retention/expire.rs",
    "src/retention/sql/forget_events.sql",
    "src/retention/sql/rule_delete.sql",
    "src/rollup/recompute.rs",
];
/// Migrations up to here run before the table is distributed.
const MIGRATIONS_BEFORE: u32 = 18;

fn pattern(text: &str) -> String {
    text.replace("EVENTS", EVENTS)
}

/// Those of `texts` that break `rule`, by their places.
async fn breaking(database: &TestDatabase, rule: &Rule, texts: &[Text]) -> Vec<String> {
    let places: Vec<&str> = texts.iter().map(|text| text.place.as_str()).collect();
    let sql: Vec<&str> = texts.iter().map(|text| text.sql.as_str()).collect();
    let ask = "select place from unnest($1::text[], $2::text[]) as text (place, sql) where sql ~ $3 and sql !~ $4";
    let (breaks, unless) = (pattern(rule.breaks), pattern(rule.unless));
    let rows = database.client.query(ask, &[&places, &sql, &breaks, &unless]).await.expect("asked");
    rows.iter().map(|row| row.get(0)).collect()
}

/// All SQL that touches events: of the program, of migrations yet to come, and of views and functions as they are now.
async fn touching(database: &TestDatabase) -> Vec<Text> {
    let mut texts = texts::all(&["src", "schema/migrations"]);
    texts.retain(|text| {
        // Other data, much of it on other servers: events are none of theirs.
        if text.place.starts_with("src/sync/") {
            return false;
        }
        let version =
            text.place.strip_prefix("schema/migrations/V").and_then(|name| name.split('_').next()?.parse().ok());
        version.is_none_or(|version: u32| version > MIGRATIONS_BEFORE)
    });
    let defined = "
        select p.oid::regprocedure::text, pg_get_functiondef(p.oid)
          from pg_proc p join pg_namespace n on n.oid = p.pronamespace
         where n.nspname in ('analytics', 'weir', 'sync', 'console') and p.prokind = 'f'
        union all
        select c.oid::regclass::text, pg_get_viewdef(c.oid)
          from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname in ('analytics', 'weir', 'sync', 'console') and c.relkind in ('v', 'm')";
    for row in database.client.query(defined, &[]).await.expect("asked") {
        texts.push(Text { place: row.get(0), sql: texts::plain(row.get(1)) });
    }
    let sql: Vec<&str> = texts.iter().map(|text| text.sql.as_str()).collect();
    let ask = "select (place - 1)::int from unnest($1::text[]) with ordinality as text (sql, place) where sql ~ $2 and sql ~ $3";
    let rows = database.client.query(ask, &[&sql, &TOUCHES, &IS_SQL]).await.expect("asked");
    let mut touching: Vec<usize> = rows.iter().map(|row| row.get::<_, i32>(0) as usize).collect();
    let mut place = 0;
    texts.retain(|_| {
        place += 1;
        touching.first() == Some(&(place - 1)) && !touching.is_empty() && touching.remove(0) == place - 1
    });
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_that_touches_events_keeps_to_what_citus_can() {
    let database = TestDatabase::new().await;
    first_source(&database.url).await;
    let texts = touching(&database).await;
    for place in SURELY {
        assert!(texts.iter().any(|text| text.place.starts_with(place)), "{place} is not looked at");
    }
    let (excused, bound): (Vec<Text>, Vec<Text>) = texts.into_iter().partition(|text| text.sql.contains("citus: "));
    let excused: Vec<&str> = excused.iter().map(|text| text.place.as_str()).collect();
    assert_eq!(excused, EXCUSED, "who is excused stands here, too");
    let mut broken = Vec::new();
    for rule in RULES {
        broken.extend(breaking(&database, rule, &bound).await.iter().map(|place| format!("{place}: {}", rule.name)));
    }
    // Citus cannot keep what has no value, as what a function gives that returns none.
    let without_value =
        "select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('analytics', 'weir') and p.prorettype = 'void'::regtype";
    for name in database.rows(without_value).await {
        let calls = [format!("select {name}("), format!(", {name}(")];
        let places = bound.iter().filter(|text| calls.iter().any(|call| text.sql.contains(call)));
        broken.extend(places.map(|text| format!("{}: {name} gives nothing", text.place)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_finds_what_breaks_it() {
    let database = TestDatabase::new().await;
    for rule in RULES {
        let texts = [rule.bad, rule.good].map(|sql| Text { place: sql.to_owned(), sql: texts::plain(sql) });
        assert_eq!(breaking(&database, rule, &texts).await, [rule.bad], "{}", rule.name);
    }
}

/// What stands on the events table and its partitions and may not: triggers, rules, unique keys without the distribution column,
/// references, and defaults that every node would compute for itself.
const STANDING: &str = "
    with tree as (
        select 'analytics.events'::regclass::oid as oid
        union all
        select inhrelid from pg_inherits where inhparent = 'analytics.events'::regclass
    )
    select 'trigger ' || tgname from pg_trigger where tgrelid in (select oid from tree) and not tgisinternal
    union all
    select 'rule ' || rulename from pg_rewrite where ev_class in (select oid from tree)
    union all
    select 'unique ' || x.indexrelid::regclass::text from pg_index x
     where x.indrelid in (select oid from tree) and (x.indisunique or x.indisexclusion)
       and not exists (select from pg_attribute a
                        where a.attrelid = x.indrelid and a.attname = 'event_id' and a.attnum = any (x.indkey))
    union all
    select 'reference ' || conname from pg_constraint
     where contype = 'f' and (conrelid in (select oid from tree) or confrelid in (select oid from tree))
    union all
    select 'default of ' || a.attname from pg_attribute a
     where a.attrelid in (select oid from tree) and (a.atthasdef or a.attidentity <> '')
    union all
    select 'nullable event_id of ' || a.attrelid::regclass::text from pg_attribute a
     where a.attrelid in (select oid from tree) and a.attname = 'event_id' and not a.attnotnull
    union all
    select 'function with parameters in plain SQL ' || p.oid::regprocedure::text from pg_proc p
      join pg_language l on l.oid = p.prolang join pg_namespace n on n.oid = p.pronamespace
     where n.nspname in ('analytics', 'weir', 'sync', 'console') and l.lanname = 'sql' and p.pronargs > 0
       and case p.prokind when 'f' then pg_get_functiondef(p.oid) ~ 'analytics\\.events' end
    order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stands_on_the_events_that_citus_refuses() {
    if citus::url().is_some() {
        eprintln!("skipped: on a cluster nothing of this can be made");
        return;
    }
    let (database, collector, _journal) = collector(|_| {}).await;
    assert_eq!(database.rows(STANDING).await, Vec::<String>::new());
    for (made, found) in [
        (
            "create function f() returns trigger language plpgsql as 'begin return null; end';
             create trigger t after insert on analytics.events_default for each row execute function f()",
            "trigger t",
        ),
        ("create rule r as on insert to analytics.events do nothing", "rule r"),
        ("create unique index u on analytics.events_default (received_at)", "unique analytics.u"),
        (
            "alter table analytics.events_default add constraint c foreign key (source) references weir.sources",
            "reference c",
        ),
        ("alter table analytics.events alter column kind set default 'page'", "default of kind"),
        ("alter table analytics.events alter column event_id drop not null", "nullable event_id of analytics.events"),
        (
            "create function analytics.g(a text) returns bigint language sql
                 as 'select count(*) from analytics.events where source = a'",
            "function with parameters in plain SQL analytics.g(text)",
        ),
    ] {
        let client = &database.client;
        client.batch_execute(&format!("begin; {made}")).await.expect("made");
        let all = database.rows(STANDING).await;
        assert!(all.iter().any(|one| one == found), "{found} is not in {all:?}");
        client.batch_execute("rollback").await.expect("as it was");
    }
    collector.stop().await;
}
