//! The console as a browser speaks to it.

mod entrance;
mod queries;
mod results;
mod runs;
