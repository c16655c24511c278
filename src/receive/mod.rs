//! The public HTTP listener.

pub mod answer;
pub mod body;
pub mod client_ip;
pub mod collect;
mod connection;
pub mod credentials;
pub mod foreign;
mod head;
pub mod listen;
pub mod rates;
pub mod routes;
pub mod script;
mod shed;
pub mod tls;
pub mod webhook;

pub use collect::Collector;
pub use listen::{Limits, Listen, serve};
pub use rates::Rates;
