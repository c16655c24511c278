//! Threads for what people do, which make way for events.
//!
//! A login costs four thousand rounds of SHA-256 here, and a result is packed row by row: on the threads that take events,
//! these would wait meanwhile. Linux gives threads priorities of their own; elsewhere only the threads are apart.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Two people's work at a time; more would not be faster beside the database.
const THREADS: usize = 2;
/// Of 19: a tenth of what a thread that takes events gets, when both want to run.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

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

#[cfg(target_os = "linux")]
fn make_way() {
    // For Linux "this process" is this thread. Where it may not, it works as before.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(not(target_os = "linux"))]
fn make_way() {}
