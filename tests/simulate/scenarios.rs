//! Courses of events that chance takes too rarely.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;
use weir::journal::{Durability, JournalError};

use crate::disk::SimDisk;
use crate::history::simulate;
use crate::node::{Event, Machine, Process, SEGMENT_BYTES, Settings, SimClock};
use crate::postgres::Model;
use crate::random::Random;

fn machine(settings: Settings) -> (Machine, Model) {
    let random = Random::new(1);
    let database = Model::new(random.clone());
    (Machine { disk: SimDisk::new(random.clone()), clock: Arc::new(SimClock::new()), random, settings }, database)
}

#[test]
fn a_database_that_goes_while_nobody_waits_refuses_nobody_when_it_is_back() {
    simulate(async {
        let settings = Settings { durability: Durability::Database, lanes: 1, bytes_max: 2 * SEGMENT_BYTES };
        let (machine, database) = machine(settings);
        let mut process = Process::start(&machine, &database).expect("a new journal");
        let mut ids = (1..).map(|id| Event { id: Uuid::from_u128(id), is_named: false });
        let mut next = || ids.next().expect("endless");
        // Until the last segment is sealed, and no room is left for another.
        let mut waiting = 0;
        loop {
            let mut answer = process.submit(&[next()]).expect("the queue is empty");
            assert!(process.write());
            if matches!(answer.try_recv(), Ok(Err(JournalError::JournalFull))) {
                break;
            }
            waiting += 1;
        }
        // The last commit is done, and the segment not yet released.
        while database.tables().rows.len() < waiting {
            sleep(Duration::from_millis(1)).await;
        }
        database.set_up(false);
        sleep(Duration::from_secs(10)).await;
        database.set_up(true);
        sleep(Duration::from_secs(60)).await;
        let mut answer = process.submit(&[next()]).expect("the queue is empty");
        assert!(process.write());
        sleep(Duration::from_secs(1)).await;
        let heard = answer.try_recv();
        assert!(matches!(heard, Ok(Ok(_))), "{heard:?}");
        process.stop().await;
    });
}
