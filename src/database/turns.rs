//! Turns for what costs the database a processor, mostly for some milliseconds, and comes in crowds.
//!
//! A hundred people who come at nine must not take every processor from events. So they begin one after the other; but whoever takes
//! long holds nobody up: after [`Turns::held_max`] the next one's turn has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// See the module.
pub struct Turns {
    free: Arc<Semaphore>,
    held_max: Duration,
    /// Where time is looked after.
    on: Handle,
}

/// One's turn, until this is dropped or has been held long enough.
pub struct Turn(#[expect(dead_code, reason = "what matters is that it is dropped")] DropGuard);

impl Turns {
    pub fn new(at_once: usize, held_max: Duration, on: Handle) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once.max(1))), held_max, on }
    }

    /// Waits for a turn: in the order of those who ask.
    pub async fn take(&self) -> Turn {
        let over = CancellationToken::new();
        // It is never closed.
        if let Ok(permit) = Arc::clone(&self.free).acquire_owned().await {
            let (held_max, over) = (self.held_max, over.clone());
            self.on.spawn(async move {
                let _ = tokio::time::timeout(held_max, over.cancelled()).await;
                drop(permit);
            });
        }
        Turn(over.drop_guard())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn one_after_the_other_but_nobody_for_long() {
        let turns = Turns::new(2, LONG, Handle::current());
        let (first, _second) = (turns.take().await, turns.take().await);
        assert!(timeout(SHORT, turns.take()).await.is_err(), "both are taken");
        drop(first);
        let third = timeout(SHORT, turns.take()).await.expect("one is free");
        assert!(timeout(SHORT, turns.take()).await.is_err(), "taken again");
        let fourth = timeout(LONG, turns.take()).await.expect("the second has had its time");
        drop(third);
        drop(fourth);
        let _fifth = timeout(SHORT, turns.take()).await.expect("free");
        let _sixth = timeout(SHORT, turns.take()).await.expect("free");
        assert!(timeout(SHORT, turns.take()).await.is_err(), "still no more than two");
    }
}
