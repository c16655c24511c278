//! Citus' rules, checked on plain PostgreSQL: with every change, and not only where there is a cluster.
//!
//! Looked at is every `.sql` file of the program and every text in its code that names the events, a partition of theirs, or
//! something that reads them; the views and functions of a database that is up to date; and what stands on its events table. A
//! table is named in a text or it is not reached at all, so a new statement is found without being listed. What a rule excuses
//! has a comment `citus: REASON` in the statement.
//!
//! Each rule was found by trying (docs/citus.md), and has a statement that breaks it.

use std::path::{Path, PathBuf};

use crate::support::TestDatabase;

/// A text with one of these names touches the events. `{}` is a partition's name where a statement is put together.
const TOUCHES: &str = r"\manalytics\.(events|page_views|clicks|people|identities|person_events|funnel)\M|\mevents_default\M|\manalytics\.\{|\mweir\.\{expired\}|\m(from|into|only|table|update|join|partition) (only )?\{(table|leaf|name|)\}|\mweir_incoming\M";
const IS_SQL: &str = r"\m(select|insert|update|delete|copy|alter|create|drop|lock|truncate|comment)\M";
/// Anything that is or may be the events table or a part of it.
const EVENTS: &str = r"(only )?(analytics\.(events\M|\{)|weir\.\{expired\}|\{(table|leaf)\})";

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
        name: "what writes events and what writes other tables are two statements of one transaction",
        breaks: r"\m(delete from|update|insert into) EVENTS.*\m(insert into|update|delete from) weir\.[a-z]|\m(insert into|update|delete from) weir\.[a-z].*\m(delete from|update|insert into) EVENTS",
        unless: "^$",
        bad: "with gone as (delete from analytics.events returning source) insert into weir.removed select source from gone",
        good: "insert into weir.removed select source from unnest($1::text[]) source",
    },
];
