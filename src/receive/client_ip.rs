//! The visitor's address behind proxies.
//!
//! Anyone can write `X-Forwarded-For`, and each honest proxy appends the address it was called from. So the chain is
//! read from its right end, beginning with the connection itself, for as long as addresses belong to trusted proxies;
//! the first that does not is the visitor. What stands left of it may be invented.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The right-most address that is no trusted proxy.
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut ip = peer.to_canonical();
    if trusted.is_empty() {
        return ip;
    }
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    // Bytes that are not ASCII, which only a visitor would send, spoil their own entry and no other.
    let values: Vec<Cow<'_, str>> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let chain: Vec<&str> = values.iter().flat_map(|value| value.split(',')).collect();
    for entry in chain.into_iter().rev() {
        if !is_trusted(ip) {
            break;
        }
        match parse(entry.trim()) {
            Some(next) => ip = next.to_canonical(),
            None => break,
        }
    }
    ip
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().expect("a net"), "fd00::/8".parse().expect("a net")];
        for (peer, chain, expected) in [
            ("203.0.113.9", &["1.1.1.1"][..], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.9, 10.2.2.2"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["nonsense, 203.0.113.9:4711"], "203.0.113.9"),
            ("10.0.0.1", &["1.1.1.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["é, 203.0.113.9"], "203.0.113.9"),
            ("fd00::1", &["[2001:db8::7]:80"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            let mut headers = HeaderMap::new();
            for value in chain {
                headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
            }
            let peer = peer.parse().expect("an address");
            assert_eq!(client_ip(peer, &headers, &trusted).to_string(), expected, "{peer} {chain:?}");
            assert_eq!(client_ip(peer, &headers, &[]), peer.to_canonical());
        }
    }
}
