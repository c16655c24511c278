//! What runs came to: kept as it was, behind an address of its own.

pub mod export;
pub mod list;
pub mod pages;
pub mod parquet;
pub mod store;
