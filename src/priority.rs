//! Work that others are not to wait for.

/// Of 19: a tenth of what a thread as any other gets, when both want to run.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// The calling thread makes way for all others of this machine. Linux gives threads priorities of their own; elsewhere, and where it
/// may not, nothing changes.
pub fn make_way() {
    // For Linux "this process" is this thread.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}
