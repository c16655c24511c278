//! What a collector says of the applications' databases that it follows, and takes back when another one does.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use metrics::{Key, KeyName, Label, Recorder};

use super::{METADATA, Metrics, Register};

const UP: &str = "Whether a source is replicated: 1 while it is.";

/// How replication of a source is.
#[derive(Debug, Clone, Copy)]
pub struct Replication<'a> {
    pub lag_s: f64,
    /// WAL that the publisher keeps for it.
    pub slot_bytes: i64,
    /// Whether its slot still is of use.
    pub is_slot_good: bool,
    /// Its tables by state.
    pub tables: &'a [(&'static str, usize)],
}

impl Metrics {
    /// Replication of a source stopped with an error.
    pub fn replication_failed(&self, source: &str) {
        let label = vec![Label::new("source", source.to_owned())];
        let help = "Errors that stopped a source's replication; it is tried again each time.";
        Register(&self.recorder).counter_with("weir_replication_errors_total", help, label).increment(1);
        self.set_labelled("weir_replication_up", UP, "source", source, 0.0);
        self.replicated().entry(source.to_owned()).or_default();
    }

    /// Replication of a source goes on.
    pub fn replication_is(&self, source: &str, replication: Replication<'_>) {
        self.set_replication(source, replication);
        self.replicated().insert(source.to_owned(), replication.tables.iter().map(|(state, _)| *state).collect());
    }

    /// Another collector replicates, or will: what this one has said of a source holds no longer.
    pub fn replication_ended(&self, source: &str) {
        // Where nothing was said, that stays so: no source is down that was never started.
        let told = self.replicated().remove(source);
        if let Some(states) = told {
            let tables: Vec<_> = states.into_iter().map(|state| (state, 0)).collect();
            self.set_replication(
                source,
                Replication { lag_s: 0.0, slot_bytes: 0, is_slot_good: false, tables: &tables },
            );
        }
    }

    fn replicated(&self) -> MutexGuard<'_, HashMap<String, Vec<&'static str>>> {
        self.replicated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_replication(&self, source: &str, replication: Replication<'_>) {
        let Replication { lag_s, slot_bytes, is_slot_good, tables } = replication;
        self.set_labelled("weir_replication_up", UP, "source", source, f64::from(u8::from(is_slot_good)));
        let help = "How old the newest change of the application's was when it was applied; 0: nothing waits.";
        self.set_labelled("weir_replication_lag_seconds", help, "source", source, lag_s);
        let help = "WAL that the publisher keeps for a source's slot.";
        self.set_labelled("weir_replication_slot_bytes", help, "source", source, slot_bytes as f64);
        for (state, count) in tables {
            let labels = vec![Label::new("source", source.to_owned()), Label::new("state", *state)];
            let name = KeyName::from_const_str("weir_replication_tables");
            self.recorder.describe_gauge(name, None, "Tables of a source by their state.".into());
            let key = Key::from_parts("weir_replication_tables", labels);
            self.recorder.register_gauge(&key, &METADATA).set(*count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_no_longer_replicates_says_so_of_what_it_has_told() {
        let metrics = Metrics::new();
        let going_well = Replication { lag_s: 2.0, slot_bytes: 4_096, is_slot_good: true, tables: &[("live", 3)] };
        metrics.replication_is("shop", going_well);
        metrics.replication_ended("shop");
        metrics.replication_ended("never started");
        let told = metrics.render();
        let values: Vec<&str> = told.lines().filter(|line| line.starts_with("weir_replication")).collect();
        let expected = [
            r#"weir_replication_lag_seconds{source="shop"} 0"#,
            r#"weir_replication_slot_bytes{source="shop"} 0"#,
            r#"weir_replication_tables{source="shop",state="live"} 0"#,
            r#"weir_replication_up{source="shop"} 0"#,
        ];
        assert!(values.len() == 4 && expected.iter().all(|line| values.contains(line)), "{values:?}");
        metrics.replication_is("shop", going_well);
        assert!(metrics.render().contains(r#"weir_replication_up{source="shop"} 1"#));
    }
}
