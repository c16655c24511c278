//! Sync: the company's other data, next to the events.
//!
//! Two kinds of source, each declared as `[sync.NAME]` ([`settings`]): services, read by Singer taps ([`singer`]), and the
//! application's PostgreSQL. What is known of them is in the schema `sync`; their rows are in a schema for each.

pub mod foreign;
pub mod postgres;
pub mod settings;
pub mod singer;
pub mod task;
