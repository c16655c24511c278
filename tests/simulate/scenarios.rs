//! Courses of events that chance takes too rarely.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use uuid::Uuid;
use weir::journal::frame::SegmentHeader;
use weir::journal::scan::scan;
use weir::journal::{Ack, Durability, JournalError};

use crate::disk::SimDisk;
use crate::history::simulate;
use crate::node::{Event, Machine, Process, SEGMENT_BYTES, Settings, SimClock, segments};
use crate::postgres::{Mischief, Model};
use crate::random::Random;

fn machine(settings: Settings) -> (Machine, Model) {
    let random = Random::new(1);
    let database = Model::new(random.clone());
    (Machine { disk: SimDisk::new(random.clone()), clock: Arc::new(SimClock::new()), random, settings }, database)
}

fn event(id: u128) -> Event {
    Event { id: Uuid::from_u128(id), is_named: false }
}

/// The length of the first frame on the disk.
fn first_frame_bytes(machine: &Machine) -> u64 {
    let files = machine.disk.durable_files();
    let (_, bytes) = segments(&files).next().expect("a segment");
    let header = bytes.first_chunk().expect("a header");
    let id = SegmentHeader::decode(header).expect("valid").segment_id;
    let mut lengths = Vec::new();
    scan(id, bytes, |_, frame| lengths.push(frame.header.frame_bytes() as u64));
    lengths[0]
}

/// Puts one event in the journal, whose device answers no read for `seconds` once the lane wants to have it; and another
/// afterwards. Returns how many arrived, and how many frames count as damaged.
fn unreadable_for(seconds: u64) -> (usize, f64) {
    let mut found = None;
    simulate(async {
        let settings = Settings { durability: Durability::Journal, lanes: 1, bytes_max: u64::MAX };
        let (machine, database) = machine(settings);
        let mut process = Process::start(&machine, &database).expect("a new journal");
        database.set_up(false);
        for id in [1, 2] {
            let mut answer = process.submit(&[event(id)]).expect("the queue is empty");
            assert!(process.write());
            assert!(matches!(answer.try_recv(), Ok(Ok(_))), "it was synced");
            if id == 1 {
                machine.disk.set_unreadable(true);
                database.set_up(true);
                sleep(Duration::from_secs(seconds)).await;
                machine.disk.set_unreadable(false);
                sleep(Duration::from_secs(60)).await;
            }
        }
        sleep(Duration::from_secs(60)).await;
        let damaged = process.state.damaged_bytes() as f64 / first_frame_bytes(&machine) as f64;
        found = Some((database.tables().rows.len(), damaged));
        process.stop().await;
    });
    found.expect("the course was run")
}

#[test]
fn a_device_that_is_away_for_a_moment_has_lost_nothing() {
    assert_eq!(unreadable_for(20), (2, 0.0));
    assert_eq!(unreadable_for(40), (1, 1.0), "what cannot be read stops nothing that follows");
}

/// What a sender hears within `seconds` that waits for the commit of a database which is `ill`.
fn heard_within(seconds: u64, ill: impl FnOnce(&Model)) -> Option<Result<Ack, JournalError>> {
    let mut heard = None;
    simulate(async {
        let settings = Settings { durability: Durability::Database, lanes: 1, bytes_max: u64::MAX };
        let (machine, database) = machine(settings);
        let mut process = Process::start(&machine, &database).expect("a new journal");
        ill(&database);
        let mut answer = process.submit(&[event(1)]).expect("the queue is empty");
        assert!(process.write());
        sleep(Duration::from_secs(seconds)).await;
        heard = answer.try_recv().ok();
        process.abort().await;
    });
    heard
}

#[test]
fn nobody_waits_long_for_a_database_that_cannot_commit() {
    let fails = Mischief { errors: 1_000, ..Mischief::default() };
    let heard = heard_within(10, |database| database.set_mischief(fails));
    assert!(matches!(heard, Some(Err(JournalError::DatabaseAway))), "{heard:?}");
    for ill in [|database: &Model| database.set_up(false), |database: &Model| database.set_schema_broken(true)] {
        let heard = heard_within(1, ill);
        assert!(matches!(heard, Some(Err(JournalError::DatabaseAway))), "{heard:?}");
    }
    let heard = heard_within(1, |_| ());
    assert!(matches!(heard, Some(Ok(_))), "{heard:?}");
}

#[test]
fn a_database_that_goes_while_nobody_waits_refuses_nobody_when_it_is_back() {
    simulate(async {
        let settings = Settings { durability: Durability::Database, lanes: 1, bytes_max: 2 * SEGMENT_BYTES };
        let (machine, database) = machine(settings);
        let mut process = Process::start(&machine, &database).expect("a new journal");
        let mut events = (1..).map(event);
        let mut next = || events.next().expect("endless");
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
