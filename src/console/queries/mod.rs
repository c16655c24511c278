//! Saved queries: a text with its history, behind an address of its own.

pub mod page;
pub mod pages;
pub mod schedule;
pub mod store;
