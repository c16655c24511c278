//! What the kernel says: who used the processors, and what machine this is. Linux only.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

/// `USER_HZ`: 100 for programs, whatever the kernel's own tick.
const TICKS_PER_SECOND: u64 = 100;
/// What a small group commit writes.
const SYNC_PROBE_BYTES: usize = 8 * 1024;
const SYNC_PROBES: u32 = 200;

/// Processor time used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub user: Duration,
    pub system: Duration,
}

impl Cpu {
    pub fn total(self) -> Duration {
        self.user + self.system
    }

    pub fn since(self, before: Self) -> Self {
        Self { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }
}

fn ticks(text: &str) -> anyhow::Result<Duration> {
    let ticks: u64 = text.parse()?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// What `/proc/PID/stat` tells of a process.
struct Process {
    parent: u32,
    cpu: Cpu,
    /// Of its children that have ended.
    children: Duration,
}

impl Process {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).context(path)?;
        // The name stands in parentheses and may hold anything; behind it come state and parent, and from the 12th field
        // on utime, stime, cutime, cstime (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |field: usize| ticks(fields.get(field).context("too few fields")?);
        Ok(Self {
            parent: fields.get(1).context("no parent")?.parse()?,
            cpu: Cpu { user: ticks(11)?, system: ticks(12)? },
            children: ticks(13)? + ticks(14)?,
        })
    }
}

/// Some processes together.
pub fn processes_cpu(pids: &[u32]) -> anyhow::Result<Cpu> {
    pids.iter().try_fold(Cpu::default(), |sum, pid| {
        let cpu = process_cpu(*pid)?;
        Ok(Cpu { user: sum.user + cpu.user, system: sum.system + cpu.system })
    })
}

/// All threads of one process.
pub fn process_cpu(pid: u32) -> anyhow::Result<Cpu> {
    Ok(Process::read(pid)?.cpu)
}

/// A process and all its children, those that have ended included.
pub fn family_cpu(pid: u32) -> anyhow::Result<Duration> {
    let head = Process::read(pid)?;
    let mut sum = head.cpu.total() + head.children;
    for entry in fs::read_dir("/proc")? {
        let Ok(child) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        // Processes come and go meanwhile.
        if let Ok(child) = Process::read(child)
            && child.parent == pid
        {
            sum += child.cpu.total();
        }
    }
    Ok(sum)
}

pub fn parent_of(pid: u32) -> anyhow::Result<u32> {
    Ok(Process::read(pid)?.parent)
}

/// All processors: time in which they worked, and time that the hypervisor gave to others.
pub fn machine_cpu() -> anyhow::Result<(Duration, Duration)> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let fields: Vec<Duration> = stat
        .lines()
        .next()
        .context("/proc/stat is empty")?
        .split_whitespace()
        .skip(1)
        .map(ticks)
        .collect::<anyhow::Result<_>>()?;
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = fields[..] else {
        anyhow::bail!("/proc/stat has too few fields");
    };
    Ok((user + nice + system + irq + softirq, steal))
}

/// A process's memory in MiB: now, and at its highest.
pub fn process_memory_mib(pid: u32) -> anyhow::Result<(f64, f64)> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = value.and_then(|value| value.split_whitespace().next());
        Ok::<f64, anyhow::Error>(kib.context("no such field")?.parse::<f64>()? / 1_024.0)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Processors, their name, memory, and kernel, as far as they can be read.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let model = value_of(&cpuinfo, "model name").unwrap_or("unknown processor");
    let meminfo = read("/proc/meminfo");
    let memory_kib: u64 =
        value_of(&meminfo, "MemTotal").and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), {} GiB, Linux {}", memory_kib / 1_024 / 1_024, kernel.trim())
}

fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// How long the disk below `dir` takes to write and sync 8 kB.
pub fn sync_time(dir: &Path) -> anyhow::Result<Duration> {
    use std::os::unix::fs::FileExt;

    let path = dir.join("sync-probe");
    let file = File::create(&path)?;
    let bytes = [1; SYNC_PROBE_BYTES];
    file.write_all_at(&vec![0; SYNC_PROBE_BYTES * SYNC_PROBES as usize], 0)?;
    file.sync_all()?;
    let started = Instant::now();
    for index in 0..SYNC_PROBES {
        file.write_all_at(&bytes, u64::from(index) * SYNC_PROBE_BYTES as u64)?;
        file.sync_data()?;
    }
    let elapsed = started.elapsed();
    fs::remove_file(path)?;
    Ok(elapsed / SYNC_PROBES)
}
