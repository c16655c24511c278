//! The public HTTP listener.

pub mod answer;
pub mod body;
pub mod client_ip;
pub mod collect;
pub mod credentials;
pub mod listen;
pub mod routes;

pub use collect::Collector;
pub use listen::{Limits, serve};
