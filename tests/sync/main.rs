//! Other data beside the events, from real servers. Run by `make test`.

#[path = "../shared/split_mix.rs"]
#[allow(dead_code)]
mod split_mix;
// Not all of it is used here.
#[path = "../collector/support/mod.rs"]
#[allow(dead_code)]
mod support;

mod commands;
mod dependents;
mod foreign;
mod losses;
mod migrations;
mod oddities;
mod pair;
mod replication;
mod versions;
