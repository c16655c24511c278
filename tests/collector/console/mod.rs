//! The console as a browser speaks to it.

mod dashboard;
mod entrance;
mod operate;
mod queries;
mod results;
mod runs;
