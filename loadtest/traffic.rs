//! Requests as browsers and backends send them, put together cheaply enough that the generator does not dominate.

use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;
use weir::event_id::{event_id, tail_of};

use crate::corpus::{self, Page};
use crate::random::{Random, Zipf};
use crate::split_mix::mix;

/// Distinct visitors.
const VISITORS: usize = 50_000;
/// A backend's events did not all happen at the moment it sends them.
const BATCH_SPACING_MS: i64 = 40;
/// Sequence numbers of one stream; no stream gets that far.
const STREAM_BITS: u32 = 36;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One event, as weir's snippet sends it: public key in the body, `text/plain`.
    Single,
    /// This many events from a backend: secret key in a header.
    Batch(u32),
    /// The same page view as Reload's own script sends it.
    Reload,
}

impl Shape {
    pub fn events(self) -> u32 {
        match self {
            Self::Single | Self::Reload => 1,
            Self::Batch(events) => events,
        }
    }
}

/// The events of one request: enough to name each of them again.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    first: u64,
    at_ms: i64,
    pub events: u32,
}

/// Events in all of these requests.
pub fn events(sent: &[Sent]) -> u64 {
    sent.iter().map(|sent| u64::from(sent.events)).sum()
}

impl Sent {
    /// The ids that weir must give the events.
    pub fn event_ids<'a>(&self, source: &'a str) -> impl Iterator<Item = Uuid> + use<'a> {
        let Self { first, at_ms, events } = *self;
        (0..events).map(move |index| {
            let message_id = message_id(first + u64::from(index));
            let message_id = std::str::from_utf8(&message_id).unwrap_or_default();
            let at = Timestamp::from_millisecond(event_ms(at_ms, index)).unwrap_or_default();
            event_id(at, tail_of(source, message_id))
        })
    }

    /// When the first event occurred.
    pub fn at_ms(&self) -> i64 {
        self.at_ms
    }
}

/// When the event of this place in a request happened that is sent at `at_ms`.
pub fn event_ms(at_ms: i64, index: u32) -> i64 {
    at_ms - i64::from(index) * BATCH_SPACING_MS
}

/// A UUID as text, distinct for each sequence number.
fn message_id(sequence: u64) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx";
    // The first 64 bits alone are distinct, since `mix` is.
    let mut bits = u128::from(mix(sequence)) << 64 | u128::from(mix(!sequence));
    for place in text.iter_mut().filter(|place| **place == b'x') {
        *place = HEX[(bits >> 124) as usize];
        bits <<= 4;
    }
    text
}

/// The keys and the name of the source that the traffic belongs to.
#[derive(Debug, Clone)]
pub struct Site {
    pub source: String,
    pub public_key: String,
    pub secret_key: String,
}

/// What all connections draw from.
pub struct Traffic {
    /// Of all batches, and of all singles where one site is asked for.
    pub site: Site,
    others: Vec<Site>,
    seed: u64,
    user_agents: Vec<String>,
    /// By user agent: a request's head up to the site's own headers.
    heads: Vec<String>,
    batch_head: String,
    pages: Vec<Page>,
    agent_ranks: Zipf,
    page_ranks: Zipf,
}

impl Traffic {
    pub fn new(site: Site, others: Vec<Site>, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let user_agents = corpus::user_agents(&mut random);
        let pages = corpus::pages(&mut random);
        let heads = user_agents.iter().map(|agent| browser_head(agent)).collect();
        let batch_head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: events.millstream.example\r\nAuthorization: Bearer {}\r\n\
             User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n\
             Connection: keep-alive\r\nContent-Type: application/json\r\n",
            site.secret_key
        );
        Self {
            site,
            others,
            seed,
            agent_ranks: Zipf::new(user_agents.len()),
            page_ranks: Zipf::new(pages.len()),
            user_agents,
            heads,
            batch_head,
            pages,
        }
    }

    /// A stream of requests. Streams of different numbers share no event, and go to the first `sites` in turn.
    pub fn stream(self: &Arc<Self>, number: u32, sites: u32) -> Stream {
        let site = (number % sites.max(1)) as usize;
        let site = site.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(&self.site);
        Stream {
            public_key: site.public_key.clone(),
            traffic: Arc::clone(self),
            random: Random::new(mix(self.seed) ^ u64::from(number)),
            sequence: u64::from(number) << STREAM_BITS,
            body: Vec::new(),
            second: i64::MIN,
            second_text: String::new(),
        }
    }
}

/// The headers that Chromium sends with a `fetch` to another site.
fn browser_head(user_agent: &str) -> String {
    let (platform, is_mobile) = match user_agent {
        agent if agent.contains("Android") => ("Android", "?1"),
        agent if agent.contains("iP") => ("iOS", "?1"),
        agent if agent.contains("Mac") => ("macOS", "?0"),
        agent if agent.contains("Linux") => ("Linux", "?0"),
        _ => ("Windows", "?0"),
    };
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: events.millstream.example\r\nConnection: keep-alive\r\n\
         sec-ch-ua-platform: \"{platform}\"\r\nUser-Agent: {user_agent}\r\n\
         sec-ch-ua: \"Chromium\";v=\"142\", \"Not_A Brand\";v=\"99\"\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nsec-ch-ua-mobile: {is_mobile}\r\nAccept: */*\r\n\
         Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n"
    )
}

/// One connection's requests.
pub struct Stream {
    traffic: Arc<Traffic>,
    public_key: String,
    random: Random,
    sequence: u64,
    body: Vec<u8>,
    /// RFC 3339 up to the second, which most events share with the one before.
    second: i64,
    second_text: String,
}

impl Stream {
    /// Replaces `request` by the next one.
    pub fn write(&mut self, shape: Shape, request: &mut Vec<u8>) -> Sent {
        request.clear();
        let traffic = Arc::clone(&self.traffic);
        let sent = match shape {
            Shape::Single => {
                let (sent, agent, page) = self.write_single_body();
                request.extend_from_slice(traffic.heads[agent].as_bytes());
                request.extend_from_slice(traffic.pages[page].site_headers.as_bytes());
                sent
            }
            Shape::Reload => {
                let (sent, agent, page) = self.write_reload_body();
                let (_, head) = traffic.heads[agent].split_once("\r\n").unwrap_or_default();
                request.extend_from_slice(b"POST /page/ HTTP/1.1\r\n");
                request.extend_from_slice(head.as_bytes());
                request.extend_from_slice(traffic.pages[page].site_headers.as_bytes());
                sent
            }
            Shape::Batch(events) => {
                request.extend_from_slice(traffic.batch_head.as_bytes());
                self.write_batch_body(events)
            }
        };
        // Writing to a Vec does not fail.
        let _ = write!(request, "Content-Length: {}\r\n\r\n", self.body.len());
        request.extend_from_slice(&self.body);
        sent
    }

    /// The next single event's body, and the user agent that would send it.
    pub fn body(&mut self) -> (&[u8], &str) {
        let (_, agent, _) = self.write_single_body();
        (&self.body, &self.traffic.user_agents[agent])
    }

    fn begin(&mut self, events: u32) -> Sent {
        let first = self.sequence;
        self.sequence += u64::from(events);
        self.body.clear();
        Sent { first, at_ms: Timestamp::now().as_millisecond(), events }
    }

    fn write_single_body(&mut self) -> (Sent, usize, usize) {
        let sent = self.begin(1);
        let traffic = Arc::clone(&self.traffic);
        let agent = traffic.agent_ranks.pick(&mut self.random);
        let page = traffic.page_ranks.pick(&mut self.random);
        self.body.extend_from_slice(b"{\"key\":\"");
        self.body.extend_from_slice(self.public_key.as_bytes());
        self.body.extend_from_slice(b"\",\"events\":[");
        self.write_event(&traffic.pages[page], sent.first, |body| {
            let _ = write!(body, "{}", sent.at_ms);
        });
        self.body.extend_from_slice(b"}]}");
        (sent, agent, page)
    }

    fn write_reload_body(&mut self) -> (Sent, usize, usize) {
        let sent = self.begin(1);
        let traffic = Arc::clone(&self.traffic);
        let agent = traffic.agent_ranks.pick(&mut self.random);
        let page = traffic.page_ranks.pick(&mut self.random);
        let visitor = mix(self.random.below(VISITORS) as u64);
        let _ = write!(
            self.body,
            r#"{{"user_id":"undefined","anonymous_id":"{visitor:016x}","path":"/","sent_at":"{}""#,
            sent.at_ms
        );
        self.body.extend_from_slice(traffic.pages[page].rest.as_bytes());
        self.body.push(b'}');
        (sent, agent, page)
    }

    fn write_batch_body(&mut self, events: u32) -> Sent {
        let sent = self.begin(events);
        let traffic = Arc::clone(&self.traffic);
        for index in 0..events {
            self.body.push(if index == 0 { b'[' } else { b',' });
            let page = &traffic.pages[traffic.page_ranks.pick(&mut self.random)];
            let agent = traffic.agent_ranks.pick(&mut self.random);
            let at_ms = event_ms(sent.at_ms, index);
            self.note_second(at_ms.div_euclid(1_000));
            let second = std::mem::take(&mut self.second_text);
            self.write_event(page, sent.first + u64::from(index), |body| {
                let _ = write!(body, "\"{second}.{:03}Z\"", at_ms.rem_euclid(1_000));
            });
            self.second_text = second;
            let _ = write!(
                self.body,
                r#","ip":"203.0.{}.{}","user_agent":"{}"}}"#,
                self.random.below(256),
                self.random.below(256),
                traffic.user_agents[agent]
            );
        }
        self.body.push(b']');
        sent
    }

    /// Writes an event but for its closing brace.
    fn write_event(&mut self, page: &Page, sequence: u64, time: impl FnOnce(&mut Vec<u8>)) {
        let body = &mut self.body;
        body.push(b'{');
        body.extend_from_slice(page.kind.as_bytes());
        body.extend_from_slice(b",\"id\":\"");
        body.extend_from_slice(&message_id(sequence));
        body.extend_from_slice(b"\",\"timestamp\":");
        time(body);
        let visitor = mix(self.random.below(VISITORS) as u64);
        let _ = write!(body, ",\"visitor_id\":\"{visitor:016x}\"");
        body.extend_from_slice(page.rest.as_bytes());
    }

    fn note_second(&mut self, second: i64) {
        if self.second != second {
            let at = Timestamp::from_second(second).unwrap_or_default();
            self.second = second;
            self.second_text = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
    }
}
