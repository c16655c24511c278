//! The primitives under [`super::progress`]; its model check (tests/handover.rs) puts loom's in their place.

pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub use std::sync::{Mutex, MutexGuard, PoisonError};
