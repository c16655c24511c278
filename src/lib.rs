//! weir: an event collector. A `200` means on disk; within a second it is a row in PostgreSQL.
//!
//! # Layout
//!
//! The modules stand in the order of an event's way:
//!
//! ```text
//! receive ─▶ decode ─▶ enrich ─▶ row ─▶ buffer ─▶ journal ─▶ flush ─▶ analytics.events ─▶ rollup
//! ```
//!
//! Each stage knows only what it is handed. [`run`] makes all of them and owns their lives; [`cluster`] brings a private
//! PostgreSQL for `weir up`; [`cli`] is the command line.

pub mod receive;

pub mod decode;
pub mod event;

pub mod enrich;
pub mod sources;

pub mod event_id;
pub mod row;

pub mod buffer;

pub mod accounting;
pub mod journal;
pub mod priority;
pub mod promises;
pub mod unexplained;

pub mod adopt;
pub mod columnar;
pub mod database;
pub mod flush;
pub mod housekeeping;
pub mod retention;

pub mod clickhouse;
pub mod import;
pub mod lake;

pub mod rollup;
pub mod sync;

pub mod analyst;
pub mod console;

pub mod admin;
pub mod demo;
pub mod docs;
pub mod doctor;
pub mod metrics;

pub mod clock;
pub mod config;
pub mod disk;
pub mod entropy;
pub mod outbound;
pub mod rate;
pub mod reload;
pub mod run;
pub mod schedule;

pub mod cli;
pub mod cluster;

pub use config::Config;
pub use run::{Listeners, run};
