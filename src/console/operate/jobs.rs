//! What operators set going, and may take longer than a browser waits.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::console::error::ConsoleError;

/// At once: what runs by schedule goes on beside them.
const JOBS_MAX: usize = 2;
/// Each: one connection that works, one that holds a lock; and one to begin with.
pub const CONNECTIONS: usize = 2 * JOBS_MAX + 1;
/// Whoever waits longer is told that it goes on.
const WAIT: Duration = Duration::from_secs(8);

/// Those that are under way, by name.
#[derive(Default)]
pub struct Jobs {
    running: Mutex<BTreeSet<String>>,
    stop: CancellationToken,
}

/// Takes the name back, however the job ends.
struct Place {
    jobs: Arc<Jobs>,
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.jobs.lock().remove(&self.name);
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole after every statement.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_running(&self, name: &str) -> bool {
        self.lock().contains(name)
    }

    /// Begins `work` and waits for what it comes to; `None`: it goes on, or was ended with the process.
    ///
    /// # Errors
    /// When one of that name, or too many, are under way.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        name: String,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<Option<T>, ConsoleError> {
        let place = {
            let mut running = self.lock();
            if running.contains(&name) {
                return Err(ConsoleError::BadRequest(format!("{name} is under way already")));
            }
            if running.len() >= JOBS_MAX {
                let names = running.iter().cloned().collect::<Vec<_>>().join(", ");
                return Err(ConsoleError::BadRequest(format!("try again when one of these has ended: {names}")));
            }
            running.insert(name.clone());
            Place { jobs: Arc::clone(self), name }
        };
        let stop = self.stop.clone();
        // A browser that goes away ends nothing.
        let job = tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = stop.cancelled() => None,
                result = work => Some(result),
            }
        });
        match timeout(WAIT, job).await {
            Ok(ended) => ended.map_err(|error| ConsoleError::Internal(error.to_string())),
            Err(_) => Ok(None),
        }
    }

    /// Ends all of them; none begins any more.
    pub fn close(&self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_is_taken_once_and_given_back() {
        let jobs = Arc::<Jobs>::default();
        assert!(matches!(jobs.run("a".to_owned(), async { 7 }).await, Ok(Some(7))));
        let finish = CancellationToken::new();
        let slow = jobs.run("a".to_owned(), finish.clone().cancelled_owned()).await;
        assert!(matches!(slow, Ok(None)), "it goes on");
        assert!(jobs.is_running("a"));
        assert!(matches!(jobs.run("a".to_owned(), async {}).await, Err(ConsoleError::BadRequest(_))));
        assert!(matches!(jobs.run("b".to_owned(), std::future::pending::<()>()).await, Ok(None)));
        assert!(
            matches!(jobs.run("c".to_owned(), async {}).await, Err(ConsoleError::BadRequest(_))),
            "no more than two"
        );
        finish.cancel();
        while jobs.is_running("a") {
            tokio::task::yield_now().await;
        }
        jobs.close();
        while jobs.is_running("b") {
            tokio::task::yield_now().await;
        }
        assert!(matches!(jobs.run("c".to_owned(), std::future::pending::<()>()).await, Ok(None)), "closed");
    }
}
