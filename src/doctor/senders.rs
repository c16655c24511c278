//! Who sends: sources and their keys, and what proxies do to visitors' addresses.

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Error;

use super::finding::{Finding, Level};
use crate::config::Receive;

const SOURCES: &str = include_str!("sql/sources.sql");
const ADDRESSES: &str = include_str!("sql/addresses.sql");

const DAY_S: f64 = 86_400.0;
/// A site that nobody has visited for so long is one to look at.
const SILENT_DAYS: f64 = 7.0;
/// Fewer say nothing.
const EVENTS_MIN: i64 = 50;

pub async fn sources(client: &ClientWrapper) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let (mut count, check) = (0, "keys");
    for row in client.query_typed(SOURCES, &[]).await? {
        count += 1;
        let source: &str = row.try_get("source")?;
        let get = |name: &str| row.try_get::<_, bool>(name);
        let silent_days = row.try_get::<_, Option<f64>>("silent_s")?.map(|seconds| seconds / DAY_S);
        if get("is_disabled")? {
            let why = "everything sent with its keys is refused";
            let cure = format!("weir source enable {source}     if that is not meant");
            findings.push(Finding::new(Level::Note, check, format!("{source} is disabled"), why, cure));
        } else if !get("has_key")? {
            let why = "nobody can send as this source";
            let cure = format!("weir source rotate {source} --kind public; weir source rotate {source} --kind secret");
            findings.push(Finding::new(Level::Warning, check, format!("{source} has no key in force"), why, cure));
        } else if !get("is_used")? && get("is_old")? {
            let what = if get("has_alias")? { "its keys and aliases" } else { "its keys" };
            let why = format!("{what} are on no page, or are refused there: a wrong key, an origin, a blocker");
            let cure = format!("weir source list; or weir source disable {source}");
            findings.push(Finding::new(Level::Note, check, format!("{source} has never sent anything"), why, cure));
        } else if let Some(days) = silent_days.filter(|days| *days > SILENT_DAYS) {
            let found = format!("{source} has sent nothing for {days:.0} days");
            let why = "its tag is gone from the pages, or its backend no longer sends";
            findings.push(Finding::new(Level::Note, check, found, why, "weir source list; the tag on the site"));
        }
    }
    if count == 0 {
        let cure = "weir source add shop --origin https://shop.example";
        findings.push(Finding::new(Level::Warning, check, "there is no source", "nobody can send anything", cure));
    } else if findings.is_empty() {
        findings.push(Finding::ok(check, format!("{count} sources, all in use")));
    }
    Ok(findings)
}

/// Whether a proxy hides the visitors.
pub async fn proxies(client: &ClientWrapper, receive: &Receive) -> Result<Vec<Finding>, Error> {
    let check = "proxies";
    if let Some(all) = receive.trusted_proxies.iter().find(|net| net.prefix_len() == 0) {
        let why = "whoever sends can claim any address: limits on networks and places mean nothing";
        let cure = "receive.trusted_proxies = [\"10.0.0.0/8\"]     the proxy's own addresses";
        return Ok(vec![Finding::new(Level::Warning, check, format!("receive.trusted_proxies has {all}"), why, cure)]);
    }
    let row = client.query_typed_one(ADDRESSES, &[]).await?;
    let (events, addresses): (i64, i64) = (row.try_get("events")?, row.try_get("addresses")?);
    let are_private: bool = row.try_get("are_private")?;
    let found = format!("the last {events} page views have {addresses} addresses");
    if events < EVENTS_MIN || !are_private {
        return Ok(vec![Finding::ok(check, found)]);
    }
    let trusted = if receive.trusted_proxies.is_empty() { "empty" } else { "not all of them" };
    let why = format!(
        "visitors come through a proxy that receive.trusted_proxies does not name ({trusted}): places are missing, visitors \
         without a cookie are one, and one limit holds for all"
    );
    let cure = "receive.trusted_proxies = [\"10.0.0.5/32\"]     the proxy's address, which sends X-Forwarded-For";
    Ok(vec![Finding::new(Level::Warning, check, format!("{found}, all of private networks"), why, cure)])
}
