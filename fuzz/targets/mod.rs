//! What must hold for any bytes at all: one function a target, which panics where it does not.
//!
//! libFuzzer calls them with inputs that it breeds towards code not reached yet (`make fuzz`); `tests/fuzz.rs` replays
//! what was found so far, `fuzz/corpus/`, and mutates it a little.

use std::sync::LazyLock;

use tokio::runtime::Runtime;

mod events;
mod input;
mod journal;
mod lookups;
mod request;

pub use events::{native, pixel};
pub use journal::{frame, row};
pub use lookups::{location, user_agent};
pub use request::{body, client_ip, credentials};

/// A property of any bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("body", body),
    ("client_ip", client_ip),
    ("credentials", credentials),
    ("frame", frame),
    ("location", location),
    ("native", native),
    ("pixel", pixel),
    ("row", row),
    ("user_agent", user_agent),
];

/// Waits for what is asynchronous, on the thread that asks.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));
