//! The collector against a real PostgreSQL, over real sockets. Run by `make test`.

#[path = "../shared/split_mix.rs"]
mod split_mix;
mod support;

mod accounting;
mod admin;
mod answers;
mod archive;
mod crash;
mod duplicates;
mod durability;
mod events;
mod failover;
mod flood;
mod foreign;
mod forget;
mod frameworks;
mod full_disk;
mod geo;
mod hostile;
mod https;
mod journal_files;
mod keys;
mod limits;
mod lost_answers;
mod outage;
mod partitions;
mod poison;
mod pooling;
mod quarantine;
mod rates;
mod real_taps;
mod retention;
mod rollup_schedules;
mod rollups;
mod roundtrip;
mod script;
mod sdk;
mod singer;
mod snippet;
mod taps;
mod tls;
mod trackers;
mod two_collectors;
mod up;
mod visitors;
