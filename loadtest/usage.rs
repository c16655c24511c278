//! Who used the processors during a phase: a figure means little while something else is running.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::machine::{self, Cpu};

/// Kernel threads that write back and log use less than this; a compiler or a test uses far more.
const DISTURBED_CORES: f64 = 0.2;

/// Processor time up to a moment, or over a time.
pub struct Usage {
    at: Instant,
    elapsed: Duration,
    /// The programs under test, if they are processes of their own.
    pub subject: Cpu,
    generator: Duration,
    postgres: Duration,
    machine: Duration,
    stolen: Duration,
}

/// Cores used.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cores {
    /// By the program under test.
    pub subject: f64,
    pub generator: f64,
    pub postgres: f64,
    /// Kernel threads, and programs that have nothing to do with this.
    pub others: f64,
    /// Given to others by the hypervisor.
    pub stolen: f64,
}

impl Usage {
    pub fn now(subjects: &[u32], postgres: u32) -> anyhow::Result<Self> {
        let (machine, stolen) = machine::machine_cpu()?;
        Ok(Self {
            at: Instant::now(),
            elapsed: Duration::ZERO,
            subject: machine::processes_cpu(subjects)?,
            generator: machine::process_cpu(std::process::id())?.total(),
            postgres: machine::family_cpu(postgres)?,
            machine,
            stolen,
        })
    }

    pub fn since(self, before: &Self) -> Self {
        Self {
            at: self.at,
            elapsed: self.at - before.at,
            subject: self.subject.since(before.subject),
            generator: self.generator.saturating_sub(before.generator),
            postgres: self.postgres.saturating_sub(before.postgres),
            machine: self.machine.saturating_sub(before.machine),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }

    pub fn cores(&self) -> Cores {
        let cores = |time: Duration| time.as_secs_f64() / self.elapsed.as_secs_f64();
        let known = self.subject.total() + self.generator + self.postgres;
        Cores {
            subject: cores(self.subject.total()),
            generator: cores(self.generator),
            postgres: cores(self.postgres),
            others: cores(self.machine.saturating_sub(known)),
            stolen: cores(self.stolen),
        }
    }
}

impl Cores {
    /// What to tell when something else was running.
    pub fn remark(self) -> Option<String> {
        let others = self.others;
        (others > DISTURBED_CORES)
            .then(|| format!("other programs took {others:.2} cores: measure again on an idle machine"))
    }
}
