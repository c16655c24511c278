//! Running what people write: as themselves, on a connection of its own for each run.

pub mod execute;
pub mod history;
pub mod rows;
pub mod runs;
pub mod statements;
mod words;
