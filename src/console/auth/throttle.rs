//! How often a password may be tried.
//!
//! Counted thrice: for a role from one network, so that whoever tries there is slowed down, and not the person elsewhere; for
//! a network, against trying many roles; and for a role from everywhere, against many networks: whoever has hundreds of these
//! can keep a person out. After some failures each further one doubles the wait.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// Failures without a wait.
const FREE_ROLE_FROM_NETWORK: u32 = 5;
/// A whole office comes from one address, at nine.
const FREE_NETWORK: u32 = 150;
const FREE_ROLE: u32 = 200;
/// A forgetful person comes back.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Failures are forgotten after this.
const MEMORY: Duration = Duration::from_secs(3_600);
/// What is remembered, some 100 bytes each. Those seen least are forgotten first.
const ENTRIES_MAX: usize = 20_000;

/// A password came too soon after wrong ones.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOften {
    pub wait_s: u64,
}

impl fmt::Display for TooOften {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "too many attempts; try again in {} s", self.wait_s)
    }
}

#[derive(Default)]
struct Failures {
    count: AtomicU64,
    /// Milliseconds since the throttle was made.
    last_ms: AtomicU64,
}

/// The failures of everyone.
pub struct Throttle {
    failures: Cache<Key, Arc<Failures>>,
    started: Instant,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { failures: Cache::new(ENTRIES_MAX), started: Instant::now() }
    }
}

/// What failures are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    RoleFrom(String, IpAddr),
    Network(IpAddr),
    Role(String),
}

fn keys(role: &str, ip: IpAddr) -> [(Key, u32); 3] {
    let network = match ip.to_canonical() {
        // What one household has.
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
        ip @ IpAddr::V4(_) => ip,
    };
    [
        (Key::RoleFrom(role.to_owned(), network), FREE_ROLE_FROM_NETWORK),
        (Key::Network(network), FREE_NETWORK),
        (Key::Role(role.to_owned()), FREE_ROLE),
    ]
}

impl Throttle {
    /// Whether a password for `role` may be tried from `ip` now. It counts as wrong until [`Self::forgive`].
    pub fn attempt(&self, role: &str, ip: IpAddr) -> Result<(), TooOften> {
        self.attempt_at(role, ip, self.started.elapsed())
    }

    fn attempt_at(&self, role: &str, ip: IpAddr, now: Duration) -> Result<(), TooOften> {
        let now_ms = now.as_millis() as u64;
        for (key, free) in keys(role, ip) {
            let Some(failures) = self.failures.get(&key) else { continue };
            let since = Duration::from_millis(now_ms.saturating_sub(failures.last_ms.load(Ordering::Relaxed)));
            if since > MEMORY {
                failures.count.store(0, Ordering::Relaxed);
            }
            let wait = wait_after(failures.count.load(Ordering::Relaxed), free);
            if let Some(left) = wait.checked_sub(since).filter(|left| !left.is_zero()) {
                return Err(TooOften { wait_s: left.as_secs() + 1 });
            }
        }
        // Before the answer is known: a hundred at the same moment are a hundred.
        for (key, _) in keys(role, ip) {
            let failures = self.failures.get(&key).unwrap_or_else(|| {
                let failures = Arc::<Failures>::default();
                self.failures.insert(key, Arc::clone(&failures));
                failures
            });
            failures.count.fetch_add(1, Ordering::Relaxed);
            failures.last_ms.store(now_ms, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The password was right.
    pub fn forgive(&self, role: &str, ip: IpAddr) {
        let [(of_role_here, _), others @ ..] = keys(role, ip);
        self.failures.remove(&of_role_here);
        // Whoever has one right password must not thereby get to try those of others without end.
        for (key, _) in others {
            if let Some(failures) = self.failures.get(&key) {
                let less = |count: u64| Some(count.saturating_sub(1));
                let _ = failures.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
        }
    }
}

fn wait_after(failures: u64, free: u32) -> Duration {
    match failures.checked_sub(u64::from(free)) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(30)).min(WAIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    #[test]
    fn each_failure_doubles_the_wait_and_success_ends_it() {
        let throttle = Throttle::default();
        let mut now = Duration::from_secs(10);
        for _ in 0..FREE_ROLE_FROM_NETWORK {
            assert_eq!(throttle.attempt_at("alice", IP, now), Ok(()));
        }
        for wait_s in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let early = now + Duration::from_millis(wait_s * 1_000 - 1);
            assert_eq!(throttle.attempt_at("alice", IP, early), Err(TooOften { wait_s: 1 }));
            now += Duration::from_secs(wait_s);
            assert_eq!(throttle.attempt_at("alice", IP, now), Ok(()), "after {wait_s} s");
        }
        assert_eq!(throttle.attempt_at("alice", ELSEWHERE, now), Ok(()), "nobody is locked out from elsewhere");
        throttle.forgive("alice", IP);
        assert_eq!(throttle.attempt_at("alice", IP, now), Ok(()));
    }

    #[test]
    fn neither_many_roles_nor_many_networks_get_around_it() {
        let throttle = Throttle::default();
        let now = Duration::from_secs(10);
        let passed = (0..1_000).filter(|n| throttle.attempt_at(&format!("r{n}"), IP, now).is_ok()).count();
        assert_eq!(passed, FREE_NETWORK as usize);
        let ip = |n: u32| IpAddr::from(n.to_be_bytes());
        let passed = (0..1_000).filter(|n| throttle.attempt_at("bob", ip(*n), now).is_ok()).count();
        assert_eq!(passed, FREE_ROLE as usize);
        // One right password buys no more than the attempt that it took.
        let throttle = Throttle::default();
        let mut passed = 0;
        for n in 0..1_000 {
            if throttle.attempt_at("mallory", ELSEWHERE, now).is_ok() {
                throttle.forgive("mallory", ELSEWHERE);
            }
            passed += usize::from(throttle.attempt_at(&format!("r{n}"), ELSEWHERE, now).is_ok());
        }
        assert_eq!(passed, FREE_NETWORK as usize);
    }
}
