//! Threads for what people do, which make way for events.
//!
//! A login costs four thousand rounds of SHA-256 here, a result is packed row by row, and a dashboard with filters counts millions of
//! visits: on the threads that take events, these would wait meanwhile.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::priority::make_way;

/// Two people's work at a time; more would not be faster beside the database.
const THREADS: usize = 2;

/// See the module. Ends with this, and what runs there.
pub struct Aside(Option<Runtime>, Handle);

impl Aside {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("weir-console")
            .enable_all()
            .on_thread_start(make_way)
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self(Some(runtime), handle))
    }

    pub fn handle(&self) -> &Handle {
        &self.1
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Not from within a runtime: that would have to wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
