//! The hand-over between the journal thread and a lane, in every order that two threads can take (model checked by loom).
//!
//! `src/journal/progress.rs` is compiled here with loom's primitives in place of the standard library's.

mod sync {
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub use loom::sync::{Mutex, MutexGuard};
    pub use std::sync::PoisonError;
}

#[allow(dead_code, reason = "the models below need only a part of it")]
#[path = "../src/journal/progress.rs"]
mod progress;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use progress::Progress;

const HEADER: u64 = 64;
const FRAME: u64 = 8;

/// A lane that sees a segment as sealed, and afterwards reads to its end, has read everything.
#[test]
fn what_is_sealed_is_read_whole() {
    loom::model(|| {
        let progress = Arc::new(Progress::<()>::new(HEADER));
        // Stands for the file: what was written before it was called synced.
        let file = Arc::new(AtomicU64::new(HEADER));
        let writer = {
            let (progress, file) = (Arc::clone(&progress), Arc::clone(&file));
            thread::spawn(move || {
                for frame in 1..=2 {
                    file.store(HEADER + frame * FRAME, Ordering::Relaxed);
                    progress.set_synced_to(HEADER + frame * FRAME);
                }
                progress.seal();
            })
        };
        let is_sealed = progress.is_sealed();
        let synced_to = progress.synced_to();
        assert!(file.load(Ordering::Relaxed) >= synced_to, "what is called synced can be read");
        if is_sealed {
            assert_eq!(synced_to, HEADER + 2 * FRAME, "nothing comes after the seal");
        }
        writer.join().expect("no panic");
    });
}

/// Whoever waits for a commit hears of it, or of the lane's giving up: exactly once.
#[test]
fn every_sender_is_answered_once() {
    loom::model(|| {
        let progress = Arc::new(Progress::<u64>::new(HEADER));
        let answered = Arc::new(AtomicU64::new(0));
        let answer = |answered: &AtomicU64, senders: Vec<u64>| {
            for sender in senders {
                // Each sender has a digit of its own.
                answered.fetch_add(sender, Ordering::Relaxed);
            }
        };
        let writer = {
            let (progress, answered) = (Arc::clone(&progress), Arc::clone(&answered));
            thread::spawn(move || {
                for (frame, digit) in [(1, 1), (2, 16)] {
                    let end = HEADER + frame * FRAME;
                    match progress.wait_for(end, digit) {
                        Ok(()) => progress.set_synced_to(end),
                        Err(refused) => answer(&answered, vec![refused]),
                    }
                }
            })
        };
        // The lane: commits what it sees, then loses its database.
        let committed = progress.synced_to();
        answer(&answered, progress.take_committed(committed));
        answer(&answered, progress.close());
        writer.join().expect("no panic");
        assert_eq!(answered.load(Ordering::Relaxed), 1 + 16);
        assert!(progress.is_closed() && progress.close().is_empty());
    });
}

/// A commit answers those whose frames it covers, and nobody else.
#[test]
fn nobody_is_answered_before_the_commit() {
    loom::model(|| {
        let progress = Arc::new(Progress::<u64>::new(HEADER));
        let writer = {
            let progress = Arc::clone(&progress);
            thread::spawn(move || {
                for frame in 1..=2 {
                    let end = HEADER + frame * FRAME;
                    assert!(progress.wait_for(end, end).is_ok());
                    progress.set_synced_to(end);
                }
            })
        };
        let committed = progress.synced_to();
        for end in progress.take_committed(committed) {
            assert!(end <= committed, "{end} was not committed");
        }
        writer.join().expect("no panic");
        let rest = progress.take_committed(HEADER + 2 * FRAME);
        let expected = (HEADER + 2 * FRAME - committed.max(HEADER)) / FRAME;
        assert_eq!(rest.len() as u64, expected, "everyone else still waits");
    });
}
