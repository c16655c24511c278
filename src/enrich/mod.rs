//! From an event and its request to a row: what is looked up, derived, and left out.
//!
//! Everything here happens before the journal, so that what privacy forbids never reaches a disk.

pub mod location;
pub mod place;
pub mod user_agent;
pub mod visitor;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::clock::{Day, day_of};
use crate::config::{IpPolicy, Privacy, SignalPolicy, UserAgentPolicy};
use crate::decode::Refusal;
use crate::event::{ClientTime, Event, Known};
use crate::event_id::{event_id, tail_of};
use crate::journal::submission::Submitted;
use crate::row::Row;
use crate::sources::{KeyKind, WriteKey};
use location::Location;
use place::{Place, Places};
use user_agent::{Agent, UserAgents};
use visitor::Salts;

/// A client's clock may be ahead by this much.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);
/// A browser may have kept an event for this long while offline.
const BEHIND_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Imports with a secret key may go back this far: each day makes a partition.
const IMPORT_BEHIND_MAX: SignedDuration = SignedDuration::from_hours(20 * 366 * 24);
/// `sent_at` outside these years is no clock's reading.
const CLOCK_SECONDS: std::ops::Range<i64> = 0..7_258_118_400; // 1970 to 2200

/// What a request tells about every event in it.
#[derive(Debug, Clone, Default)]
pub struct RequestFacts<'a> {
    pub received_at: Timestamp,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<&'a str>,
    pub accept_language: Option<&'a str>,
    pub global_privacy_control: bool,
    pub do_not_track: bool,
    /// History: what happened on a day long gone, and is told only now.
    pub is_import: bool,
}

/// Everything needed to make rows.
pub struct Enricher {
    pub privacy: Privacy,
    pub user_agents: UserAgents,
    pub places: Arc<Places>,
    pub salts: Arc<Salts>,
}

impl Enricher {
    /// What is known of the agent that an event of this key comes from. Waits only for a user agent never seen before.
    pub async fn agent(&self, event: &Event<'_>, kind: KeyKind, request: &RequestFacts<'_>) -> Option<Arc<Agent>> {
        self.user_agents.look_up(claimed_agent(event, kind, request)?).await
    }

    /// Appends the event's tuple to `tuples`.
    pub fn encode(
        &self,
        event: &Event<'_>,
        key: &WriteKey,
        request: &RequestFacts<'_>,
        agent: Option<&Agent>,
        tuples: &mut Vec<u8>,
    ) -> Result<(Submitted, Day), Refusal> {
        let is_anonymous = self.is_anonymous(key.kind, request)?;
        let user_agent = claimed_agent(event, key.kind, request);
        let ip = match key.kind {
            KeyKind::Public => request.ip,
            KeyKind::Secret => event.ip,
        };
        let (occurred_at, kept_time) = occurred_at(event.timestamp, key.kind, request.received_at);
        let (sent_at, kept_sent_at) = sent_at(event.sent_at);
        let location = event.url.as_deref().map(Location::parse).unwrap_or_default();
        let campaign = location.campaign();
        let utm = event.utm.as_deref();
        let referrer = event.referrer.as_deref().map(Location::parse).unwrap_or_default();
        let place = ip.and_then(|ip| self.places.look_up(ip)).unwrap_or_default();
        let known = event.known.as_deref();
        let place = known.and_then(Found::place).unwrap_or_else(|| Found::of_place(&place));
        let software = known.and_then(Found::software).unwrap_or_else(|| Found::of_agent(agent));
        let visitor_id = match (&event.visitor_id, ip) {
            (Some(visitor_id), _) => Some(Cow::Borrowed(visitor_id.as_ref())),
            (None, Some(ip)) => {
                // A day of the past has no salt any more: a process that imports has one of its own, gone with it.
                let day = day_of(if request.is_import { occurred_at } else { request.received_at });
                Some(self.salts.visitor_id(day, &key.source, ip, user_agent.unwrap_or_default()).into())
            }
            (None, None) => None,
        }
        .filter(|_| !is_anonymous);
        let keep_agent = !is_anonymous
            && match self.privacy.user_agent {
                UserAgentPolicy::Always => true,
                UserAgentPolicy::Unrecognized => agent.is_none_or(|agent| agent.browser.is_none()),
                UserAgentPolicy::Never => false,
            };
        let language = match key.kind {
            KeyKind::Public => request.accept_language.and_then(first_language),
            KeyKind::Secret => None,
        };
        let context = Context {
            timestamp: kept_time,
            sent_at: kept_sent_at,
            user_agent: user_agent.filter(|_| keep_agent),
            // They name the visitor to the networks that made them.
            click_ids: if is_anonymous { &[] } else { &campaign.click_ids },
        }
        .write(event);

        let tail = match &event.message_id {
            Some(message_id) => tail_of(&key.source, message_id),
            None => random_tail(),
        };
        let id = event_id(occurred_at, tail);
        let start = tuples.len();
        Row {
            event_id: id,
            occurred_at,
            received_at: request.received_at,
            sent_at,
            source: &key.source,
            kind: &event.kind,
            name: event.name.as_deref(),
            visitor_id: visitor_id.as_deref(),
            user_id: event.user_id.as_deref().filter(|_| !is_anonymous),
            session_id: event.session_id.as_deref().filter(|_| !is_anonymous),
            url: event.url.as_deref(),
            host: location.host(),
            path: location.path(),
            query: location.query(),
            title: event.title.as_deref(),
            referrer: event.referrer.as_deref(),
            referrer_host: referrer.host(),
            utm_source: utm.and_then(|utm| utm.source.as_deref()).or(campaign.utm.source.as_deref()),
            utm_medium: utm.and_then(|utm| utm.medium.as_deref()).or(campaign.utm.medium.as_deref()),
            utm_campaign: utm.and_then(|utm| utm.campaign.as_deref()).or(campaign.utm.campaign.as_deref()),
            utm_term: utm.and_then(|utm| utm.term.as_deref()).or(campaign.utm.term.as_deref()),
            utm_content: utm.and_then(|utm| utm.content.as_deref()).or(campaign.utm.content.as_deref()),
            ip: ip.filter(|_| !is_anonymous).and_then(|ip| stored_ip(ip, self.privacy.ip)),
            country: place.country,
            region: place.region,
            city: place.city,
            browser: software.browser,
            browser_version: software.browser_version,
            os: software.os,
            os_version: software.os_version,
            device: software.device,
            is_bot: agent.is_some_and(|agent| agent.is_bot),
            language: event.language.as_deref().or(language),
            screen: event.screen.as_deref(),
            // Of an identify these are the person's traits.
            properties: event.properties.filter(|_| !(is_anonymous && event.kind == "identify")),
            context: context.as_deref(),
        }
        .encode(tuples);
        let tuple_bytes = (tuples.len() - start) as u32;
        let submitted = Submitted { id, tuple_bytes, has_message_id: event.message_id.is_some() };
        Ok((submitted, day_of(occurred_at)))
    }

    fn is_anonymous(&self, kind: KeyKind, request: &RequestFacts<'_>) -> Result<bool, Refusal> {
        let mut is_anonymous = false;
        for (sent, policy, name) in [
            (request.global_privacy_control, self.privacy.global_privacy_control, "Sec-GPC"),
            (request.do_not_track, self.privacy.do_not_track, "DNT"),
        ] {
            match policy {
                // A server's own headers say nothing about its visitor.
                _ if !sent || kind == KeyKind::Secret => {}
                SignalPolicy::Ignore => {}
                SignalPolicy::Anonymize => is_anonymous = true,
                SignalPolicy::Drop => return Err(Refusal::PrivacySignal(name)),
            }
        }
        Ok(is_anonymous)
    }
}

/// Columns that are looked up, or that another product has looked up before.
#[derive(Default)]
struct Found<'a> {
    country: Option<&'a str>,
    region: Option<&'a str>,
    city: Option<&'a str>,
    browser: Option<&'a str>,
    browser_version: Option<&'a str>,
    os: Option<&'a str>,
    os_version: Option<&'a str>,
    device: Option<&'a str>,
}

impl<'a> Found<'a> {
    fn of_place(place: &'a Place) -> Self {
        let Place { country, region, city } = place;
        Self { country: country.as_deref(), region: region.as_deref(), city: city.as_deref(), ..Self::default() }
    }

    fn of_agent(agent: Option<&'a Agent>) -> Self {
        let Some(agent) = agent else { return Self::default() };
        Self {
            browser: agent.browser.as_deref(),
            browser_version: agent.browser_version.as_deref(),
            os: agent.os.as_deref(),
            os_version: agent.os_version.as_deref(),
            device: agent.device.as_deref(),
            ..Self::default()
        }
    }

    /// All of a place comes from one hand: two would name a city of another country.
    fn place(known: &'a Known<'_>) -> Option<Self> {
        let (country, region, city) = (known.country.as_deref(), known.region.as_deref(), known.city.as_deref());
        let is_known = country.or(region).or(city).is_some();
        is_known.then(|| Self { country, region, city, ..Self::default() })
    }

    fn software(known: &'a Known<'_>) -> Option<Self> {
        let (browser, os, device) = (known.browser.as_deref(), known.os.as_deref(), known.device.as_deref());
        let is_known = browser.or(os).or(device).is_some();
        is_known.then(|| Self {
            browser,
            browser_version: known.browser_version.as_deref(),
            os,
            os_version: known.os_version.as_deref(),
            device,
            ..Self::default()
        })
    }
}

/// A browser's user agent is its header; a server's header is not its visitor's, which only the event can tell.
fn claimed_agent<'e>(event: &'e Event<'_>, kind: KeyKind, request: &RequestFacts<'e>) -> Option<&'e str> {
    match kind {
        KeyKind::Public => request.user_agent,
        KeyKind::Secret => event.user_agent.as_deref(),
    }
}

/// The believable time of an event, and the original where that was not believed. Must not depend on `sent_at`, which
/// changes on a retry.
fn occurred_at(time: Option<ClientTime<'_>>, kind: KeyKind, received_at: Timestamp) -> (Timestamp, Option<&str>) {
    let behind_max = match kind {
        KeyKind::Public => BEHIND_MAX,
        KeyKind::Secret => IMPORT_BEHIND_MAX,
    };
    match time {
        None => (received_at, None),
        Some(ClientTime { at: Some(at), .. }) if is_within(at, behind_max, received_at) => (at, None),
        Some(ClientTime { raw, .. }) => (received_at, Some(raw)),
    }
}

fn is_within(at: Timestamp, behind_max: SignedDuration, received_at: Timestamp) -> bool {
    at.duration_until(received_at) <= behind_max && received_at.duration_until(at) <= AHEAD_MAX
}

/// Whether an import may say that something happened then.
pub fn is_importable(at: Timestamp, now: Timestamp) -> bool {
    is_within(at, IMPORT_BEHIND_MAX, now)
}

fn sent_at(time: Option<ClientTime<'_>>) -> (Option<Timestamp>, Option<&str>) {
    match time {
        None => (None, None),
        Some(ClientTime { at: Some(at), .. }) if CLOCK_SECONDS.contains(&at.as_second()) => (Some(at), None),
        Some(ClientTime { raw, .. }) => (None, Some(raw)),
    }
}

fn stored_ip(ip: IpAddr, policy: IpPolicy) -> Option<(IpAddr, u8)> {
    match (policy, ip) {
        (IpPolicy::None, _) => None,
        (IpPolicy::Full, IpAddr::V4(_)) => Some((ip, 32)),
        (IpPolicy::Full, IpAddr::V6(_)) => Some((ip, 128)),
        (IpPolicy::Truncated, IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            Some((IpAddr::from([a, b, c, 0]), 24))
        }
        (IpPolicy::Truncated, IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            Some((IpAddr::from([a, b, c, 0, 0, 0, 0, 0]), 48))
        }
    }
}

/// `de-CH` of `de-CH,de;q=0.9`.
fn first_language(accept_language: &str) -> Option<&str> {
    let first = accept_language.split([',', ';']).next()?.trim();
    (!first.is_empty() && first != "*" && first.len() <= 35).then_some(first)
}

fn random_tail() -> u128 {
    let mut bytes = [0; 16];
    // On Linux this cannot fail after boot; zeros would still be told apart by time.
    let _ = getrandom::fill(&mut bytes);
    u128::from_ne_bytes(bytes)
}

/// What goes into the `context` column beside the client's own context.
struct Context<'a> {
    timestamp: Option<&'a str>,
    sent_at: Option<&'a str>,
    user_agent: Option<&'a str>,
    click_ids: &'a [(&'static str, String)],
}

impl Context<'_> {
    /// The column's JSON. What has a name that the client's context uses too moves into `extra`; nothing is thrown away.
    fn write(&self, event: &Event<'_>) -> Option<String> {
        let own = event.context.map(inside).filter(|members| !members.is_empty());
        let derived = self.derived();
        let has_others = !(derived.is_empty() && event.extra.is_empty());
        let taken = if own.is_some() && has_others { own_names(event.context) } else { BTreeSet::new() };
        let is_unknown = |name: &str| event.extra.iter().any(|(unknown, _)| unknown == name);
        let (mut members, mut hidden) = (Members::default(), Members::default());
        for (name, value) in &derived {
            let is_hidden = taken.contains(*name) || is_unknown(name);
            if is_hidden { &mut hidden } else { &mut members }.add(name, value);
        }
        for (name, value) in &event.extra {
            if taken.contains(name.as_ref()) { &mut hidden } else { &mut members }.add(name, value);
        }
        if !hidden.0.is_empty() {
            let mut name = "extra".to_owned();
            while taken.contains(&name) || is_unknown(&name) {
                name.push('_');
            }
            members.add(&name, &hidden.object());
        }
        if let Some(own) = own {
            members.add_all(own);
        }
        (!members.0.is_empty()).then(|| members.object())
    }

    /// What weir itself puts there.
    fn derived(&self) -> SmallVec<[(&'static str, Cow<'_, str>); 4]> {
        let mut derived = SmallVec::new();
        for (name, raw) in [("timestamp", self.timestamp), ("sent_at", self.sent_at)] {
            derived.extend(raw.map(|raw| (name, raw.into())));
        }
        derived.extend(self.user_agent.map(|user_agent| ("user_agent", quoted(user_agent).into())));
        if !self.click_ids.is_empty() {
            let mut ids = Members::default();
            self.click_ids.iter().for_each(|(name, id)| ids.add(name, &quoted(id)));
            derived.push(("click_ids", ids.object().into()));
        }
        derived
    }
}

/// The members of a JSON object that is being written.
#[derive(Default)]
struct Members(String);

impl Members {
    fn add(&mut self, name: &str, value: &str) {
        self.add_all(&quoted(name));
        self.0.push(':');
        self.0.push_str(value);
    }

    fn add_all(&mut self, members: &str) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(members);
    }

    fn object(&self) -> String {
        format!("{{{}}}", self.0)
    }
}

/// The members of a JSON object's text, without its braces.
fn inside(object: &str) -> &str {
    object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim_ascii()
}

fn own_names(context: Option<&str>) -> BTreeSet<String> {
    let members = context.map(serde_json::from_str::<BTreeMap<String, &RawValue>>);
    members.and_then(Result::ok).map(|members| members.into_keys().collect()).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
