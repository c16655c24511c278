//! Rows that PostgreSQL refuses, in the midst of good ones and under load: the good ones arrive soon.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{citus, collector};

const CONSTRAINT: &str = "alter table analytics.events add constraint no_poison check (name not like 'poison%')";
const SENDERS: usize = 4;
const BATCHES: usize = 10;
/// On other servers each row that goes alone takes some milliseconds.
const BATCHES_ON_CITUS: usize = 2;
const BATCH: usize = 200;
/// What the issue promises a good row, and room for a busy machine.
const GOOD_ROW_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn good_rows_beside_poison_arrive_soon() {
    let (database, collector, _journal) = collector(|config| config.flush.lanes = 2).await;
    database.client.batch_execute(CONSTRAINT).await.expect("added");
    let batches = if citus::url().is_some() { BATCHES_ON_CITUS } else { BATCHES };
    let send = |sender: usize| {
        let collector = &collector;
        async move {
            for batch in 0..batches {
                let name = |n: usize| if n % 7 == 3 { "poison" } else { "good" };
                let events: Vec<String> =
                    (0..BATCH).map(|n| format!(r#"{{"name":"{} {sender} {batch} {n}"}}"#, name(n))).collect();
                let answer = collector.post(&format!("[{}]", events.join(","))).await;
                assert_eq!(answer.json()["accepted"], BATCH);
            }
        }
    };
    let started = Instant::now();
    join_all((0..SENDERS).map(send)).await;
    let poison = (0..BATCH).filter(|n| n % 7 == 3).count() * SENDERS * batches;
    let good = SENDERS * batches * BATCH - poison;
    database.until_stored(good as i64).await;
    let took = started.elapsed();
    assert!(took < GOOD_ROW_WITHIN, "{took:?}");
    database.until_accounted((good + poison) as i64, good as i64, 0, poison as i64).await;
    let quarantined =
        "select count(*) from weir.quarantine where sqlstate = '23514' and event::jsonb ->> 'name' like 'poison%'";
    assert_eq!(database.number(quarantined).await, poison as i64);
    eprintln!("poison: {poison} of {} rows, all good ones stored after {took:?}", good + poison);
    collector.stop().await;
}

/// Refuses at COMMIT what COPY took.
const DEFERRED: &str = "create function no_poison() returns trigger language plpgsql as $$
    begin
        if new.name like 'poison%' then raise exception 'poison' using errcode = '23514'; end if;
        return null;
    end $$;
    create constraint trigger no_poison after insert on analytics.events
        deferrable initially deferred for each row execute function no_poison()";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_refused_only_at_commit_costs_no_other() {
    if citus::url().is_some() {
        eprintln!("skipped: Citus has no triggers on distributed tables, and nothing else waits for the commit");
        return;
    }
    let (database, collector, _journal) = collector(|_| {}).await;
    database.client.batch_execute(DEFERRED).await.expect("added");
    assert_eq!(collector.post(r#"[{"name":"good"},{"name":"poison"},{"name":"fine"}]"#).await.status, 200);
    database.until_accounted(3, 2, 0, 1).await;
    collector.stop().await;
}
