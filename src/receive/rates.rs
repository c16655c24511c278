//! How often one key, and one network, may send.
//!
//! Decided from a request's head, before its body is read. A network is limited only while it has not shown a secret
//! key: public keys are seen by everyone, and so are no sign of good faith.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use quick_cache::sync::Cache;

use crate::config;
use crate::rate::{Bucket, Rate};
use crate::sources::{KeyKind, WriteKey};

/// Seconds' worth of requests that may come at once: a page that everybody opens at the same moment is no attack.
const BURST_S: u32 = 10;
/// Networks whose rate is remembered, some 100 bytes each. Those seen least are forgotten first.
const NETWORKS_MAX: usize = 65_536;
/// What one household or office has: its addresses count as one.
const IPV4_PREFIX_BITS: u8 = 24;
const IPV6_PREFIX_BITS: u8 = 64;

/// The rates of all keys and networks.
pub struct Rates {
    key: Option<Rate>,
    network: Option<Rate>,
    limits_private: bool,
    networks: Cache<IpNet, Arc<Bucket>>,
    started: Instant,
}

/// A request came too soon.
#[derive(Debug, PartialEq, Eq)]
pub struct TooOften {
    pub sender: Sender,
    per_s: u32,
    wait: Duration,
}

/// Who sends too often.
#[derive(Debug, PartialEq, Eq)]
pub enum Sender {
    Key,
    Network(IpNet),
}

impl fmt::Display for TooOften {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_s = self.per_s;
        match self.sender {
            Sender::Key => write!(
                formatter,
                "this write key sends more than {per_s} requests a second: send more events in one request, or raise \
                 receive.key_requests_per_s"
            ),
            Sender::Network(network) => write!(
                formatter,
                "{network} sends more than {per_s} requests a second: a server should use its secret key, a proxy of \
                 yours belongs into receive.trusted_proxies; the limit is receive.network_requests_per_s"
            ),
        }
    }
}

impl TooOften {
    /// Whole seconds until another request may come.
    pub fn retry_after_s(&self) -> u16 {
        u16::try_from(self.wait.as_secs() + 1).unwrap_or(u16::MAX)
    }
}

impl Rates {
    pub fn new(settings: &config::Receive) -> Self {
        Self::with_networks_max(settings, NETWORKS_MAX)
    }

    fn with_networks_max(settings: &config::Receive, networks_max: usize) -> Self {
        Self {
            key: Rate::new(settings.key_requests_per_s, BURST_S),
            network: Rate::new(settings.network_requests_per_s, BURST_S),
            limits_private: settings.limit_private_networks,
            networks: Cache::new(networks_max),
            started: Instant::now(),
        }
    }

    /// Counts a request from `ip` whose head names `key`, if that is in force.
    pub fn check(&self, ip: Option<IpAddr>, key: Option<&WriteKey>) -> Result<(), TooOften> {
        // The network first: what is refused for it must not use up the key.
        if key.is_none_or(|key| key.kind == KeyKind::Public)
            && let Some(ip) = ip
        {
            self.check_network(ip)?;
        }
        key.map_or(Ok(()), |key| self.check_key(key))
    }

    /// Counts a request with `key`, where the key was found in the body.
    pub fn check_key(&self, key: &WriteKey) -> Result<(), TooOften> {
        let Some(rate) = &self.key else { return Ok(()) };
        let too_often = |wait| TooOften { sender: Sender::Key, per_s: rate.per_s(), wait };
        rate.take(&key.bucket, self.started.elapsed()).map_err(too_often)
    }

    fn check_network(&self, ip: IpAddr) -> Result<(), TooOften> {
        let Some(rate) = &self.network else { return Ok(()) };
        if !self.limits_private && is_private(ip) {
            return Ok(());
        }
        let network = network_of(ip);
        // Two first requests at the same moment may each make a bucket: one of them is then not counted.
        let bucket = self.networks.get(&network).unwrap_or_else(|| {
            let bucket = Arc::<Bucket>::default();
            self.networks.insert(network, Arc::clone(&bucket));
            bucket
        });
        let too_often = |wait| TooOften { sender: Sender::Network(network), per_s: rate.per_s(), wait };
        rate.take(&bucket, self.started.elapsed()).map_err(too_often)
    }
}

fn network_of(ip: IpAddr) -> IpNet {
    let bits = if ip.is_ipv4() { IPV4_PREFIX_BITS } else { IPV6_PREFIX_BITS };
    IpNet::new(ip, bits).map_or_else(|_| ip.into(), |network| network.trunc())
}

/// Whether the address is that of a neighbour rather than of somebody on the Internet: then it is most likely a proxy
/// that nobody has named, which carries everyone's requests.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            // 100.64.0.0/10 is what carriers and clouds use between themselves and their customers.
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(key_per_s: u32, network_per_s: u32, limit_private_networks: bool) -> Rates {
        let settings = config::Receive {
            key_requests_per_s: key_per_s,
            network_requests_per_s: network_per_s,
            limit_private_networks,
            ..config::Receive::default()
        };
        Rates::with_networks_max(&settings, 100)
    }

    fn key(kind: KeyKind) -> WriteKey {
        WriteKey::new("web".into(), kind, Arc::new([]))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Each `n` from a network of its own.
    fn stranger(n: u32) -> IpAddr {
        std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | (u128::from(n) << 64)).into()
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        for (first, second, are_one) in [
            ("203.0.113.1", "203.0.113.254", true),
            ("203.0.113.1", "203.0.112.1", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let rates = rates(0, 1, false);
            for _ in 0..10 {
                rates.check(Some(ip(first)), None).expect("the burst");
            }
            assert_eq!(rates.check(Some(ip(first)), None).expect_err("too often").retry_after_s(), 1);
            assert_eq!(rates.check(Some(ip(second)), None).is_err(), are_one, "{first} {second}");
        }
    }

    #[test]
    fn a_secret_key_exempts_its_network_and_neighbours_are_not_limited() {
        let rates = rates(0, 1, false);
        for _ in 0..100 {
            rates.check(Some(ip("203.0.113.1")), Some(&key(KeyKind::Secret))).expect("exempt");
            rates.check(None, None).expect("nobody to count");
            for neighbour in
                ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "100.64.0.1", "::1", "fd00::1"]
            {
                rates.check(Some(ip(neighbour)), None).expect(neighbour);
            }
        }
        for stranger in ["100.63.0.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"] {
            let refused =
                (0..100).filter(|_| rates.check(Some(ip(stranger)), Some(&key(KeyKind::Public))).is_err()).count();
            assert!(refused > 80, "{stranger}: {refused}");
        }
    }

    #[test]
    fn a_network_over_its_limit_does_not_use_up_the_key() {
        let rates = rates(2, 1, true);
        let key = key(KeyKind::Public);
        let refused = (0..1_000).filter(|_| rates.check(Some(ip("127.0.0.1")), Some(&key)).is_err()).count();
        assert!(refused >= 980, "{refused}");
        rates.check(Some(ip("203.0.113.1")), Some(&key)).expect("the key has room");
        let error = (0..20).find_map(|_| rates.check_key(&key).err()).expect("the key's own limit");
        assert_eq!(error.sender, Sender::Key);
    }

    #[test]
    fn strangers_without_number_take_a_table_of_bounded_size() {
        let rates = rates(0, 1, false);
        for n in 0..100_000_u32 {
            rates.check(Some(stranger(n)), None).expect("its first");
        }
        assert!(rates.networks.len() <= 100, "{}", rates.networks.len());
    }

    #[test]
    fn a_network_that_is_refused_all_the_time_is_not_forgotten_for_passers_by() {
        let rates = rates(0, 1, false);
        let mut refused = 0;
        for n in 0..10_000_u32 {
            refused += u32::from(rates.check(Some(ip("203.0.113.1")), None).is_err());
            let _ = rates.check(Some(stranger(n)), None);
        }
        assert!(refused > 9_900, "{refused}");
    }
}
