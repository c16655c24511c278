//! The collector on this machine, if one runs: what its admin listener says of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::finding::{Finding, Level};
use crate::config::{Admin, Config};

const CHECK: &str = "collector";
const TIMEOUT: Duration = Duration::from_secs(3);
/// More than any collector writes.
const METRICS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A metric, from which value on it is bad, how bad, and what it means.
type Bad = (&'static str, f64, Level, &'static str, &'static str, &'static str);

const BAD: [Bad; 6] = [
    (
        "weir_flush_stopped_lanes",
        1.0,
        Level::Problem,
        "a flush lane stands still",
        "events are safe and do not arrive",
        "journalctl -u weir | grep 'stands still'     and mend what it says",
    ),
    (
        "weir_journal_forked_segments",
        1.0,
        Level::Warning,
        "segments are set aside",
        "a copy of the journal was written to: their events do not arrive",
        "docs/operations.md, \"WeirJournalForked\"",
    ),
    (
        "weir_journal_damaged_bytes",
        1.0,
        Level::Warning,
        "bytes of the journal are damaged",
        "their events are lost: a disk that rots",
        "weir journal verify; docs/operations.md, \"WeirJournalDamaged\"",
    ),
    (
        "weir_journal_early_releases",
        1.0,
        Level::Note,
        "applied segments went before journal.retain_s",
        "a failover that forgets commits may lose them",
        "a larger journal.bytes_max, or a larger disk",
    ),
    (
        "weir_freshness_lag_seconds",
        60.0,
        Level::Warning,
        "the oldest event waits for a minute or more",
        "rows come late",
        "docs/operations.md, \"WeirFreshnessLag\"",
    ),
    (
        "weir_connections_refused_total",
        1.0,
        Level::Warning,
        "connections were refused, over receive.connections_max",
        "senders hear 503",
        "docs/operations.md, \"WeirConnectionsRefused\"",
    ),
];

/// Who can reach the admin listener.
pub fn admin(admin: &Admin) -> Finding {
    let check = "admin";
    let address = admin.listen;
    if admin.check_address(address).is_err() {
        let cure = "admin.token = \"$(openssl rand -hex 32)\"     or admin.listen = \"127.0.0.1:8081\"";
        let found = format!("admin.listen is {address}, and admin.token is empty");
        return Finding::new(
            Level::Problem,
            check,
            found,
            "anybody could read metrics and the console's door: no collector starts so",
            cure,
        );
    }
    if !address.ip().to_canonical().is_loopback() {
        let why = "token, passwords and results cross the network unencrypted unless something in front speaks TLS";
        let cure = "admin.listen = \"127.0.0.1:8081\"     or let only Prometheus and a proxy with TLS reach it";
        return Finding::new(Level::Note, check, format!("others can reach the admin listener, {address}"), why, cure);
    }
    Finding::ok(check, format!("only this machine reaches the admin listener, {address}"))
}

/// Asks it. Blocks: not for an async thread.
pub fn ask(config: &Config) -> Vec<Finding> {
    let mut address = config.admin.listen;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let Ok(health) = get(address, "/healthz", "") else {
        let why = "what only it knows is not examined: lanes that stand still, senders that are refused";
        let cure = "systemctl status weir     or WEIR_ADMIN__LISTEN=... if it listens elsewhere";
        return vec![Finding::new(Level::Note, CHECK, format!("no collector answers on {address}"), why, cure)];
    };
    let health: serde_json::Value = serde_json::from_str(&health).unwrap_or_default();
    let mut findings = vec![of_health(health["status"].as_str().unwrap_or("unknown"))];
    match get(address, "/metrics", &config.admin.token) {
        Ok(text) => findings.extend(of_metrics(&text, config.receive.trusted_proxies.is_empty())),
        Err(error) => {
            let found = format!("its metrics cannot be read: {error}");
            let cure = "WEIR_ADMIN__TOKEN=... weir doctor";
            findings.push(Finding::new(Level::Note, CHECK, found, "they are not examined", cure));
        }
    }
    findings
}

fn get(address: SocketAddr, path: &str, token: &str) -> Result<String, ureq::Error> {
    // No proxy may see the token.
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into();
    let mut request = agent.get(format!("http://{address}{path}"));
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.call()?.body_mut().with_config().limit(METRICS_BYTES_MAX).read_to_string()
}

fn of_health(status: &str) -> Finding {
    let found = format!("the collector says: {status}");
    match status {
        "ok" => Finding::ok(CHECK, found),
        "refusing" => Finding::new(
            Level::Problem,
            CHECK,
            found,
            "the journal has no room, or the database is needed and away: senders hear 503",
            "docs/operations.md, \"WeirRefusesEvents\"",
        ),
        "degraded" => Finding::new(
            Level::Warning,
            CHECK,
            found,
            "the database does not answer it: events gather in the journal",
            "docs/operations.md, \"WeirDatabaseAway\"",
        ),
        _ => Finding::new(Level::Note, CHECK, found, "it does not take events just now", ""),
    }
}

fn of_metrics(text: &str, trusts_nobody: bool) -> Vec<Finding> {
    let samples: BTreeMap<&str, f64> = (text.lines().filter(|line| !line.starts_with('#')))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let value = |name: &str| samples.get(name).copied().unwrap_or(0.0);
    let mut findings = Vec::new();
    for (name, from, level, found, why, cure) in BAD {
        if value(name) >= from {
            findings.push(Finding::new(level, CHECK, format!("{found} ({name} {})", value(name)), why, cure));
        }
    }
    let limited = value("weir_requests_refused_total{reason=\"network_too_often\"}");
    if limited > 0.0 && trusts_nobody {
        let found = format!(
            "{limited} requests were refused as coming too often from one network, and receive.trusted_proxies is empty"
        );
        let why = "behind a proxy all visitors are one network";
        let cure =
            "receive.trusted_proxies = [\"10.0.0.5/32\"]     the proxy's address; or receive.network_requests_per_s";
        findings.push(Finding::new(Level::Warning, "proxies", found, why, cure));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_says_is_understood() {
        for (status, level) in
            [("ok", Level::Ok), ("degraded", Level::Warning), ("refusing", Level::Problem), ("closing", Level::Note)]
        {
            assert_eq!(of_health(status).level, level, "{status}");
        }
        let levels =
            |text: &str, trusts| -> Vec<_> { of_metrics(text, trusts).iter().map(|finding| finding.level).collect() };
        let limited = "weir_requests_refused_total{reason=\"network_too_often\"} 3\n";
        assert_eq!(levels("weir_flush_stopped_lanes 0\nweir_freshness_lag_seconds 59.9\n", true), []);
        assert_eq!(
            levels("weir_flush_stopped_lanes 1\nweir_freshness_lag_seconds 60\n", true),
            [Level::Problem, Level::Warning]
        );
        assert_eq!((levels(limited, true), levels(limited, false)), (vec![Level::Warning], vec![]));
    }
}
