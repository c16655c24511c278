//! Browser, system and device by user agent, with uap-core's patterns.
//!
//! A parse tries a thousand patterns, some 180 µs: far more than all else that happens to an event. So results are
//! remembered by the text, and what is not known is parsed on a thread of its own. When that thread has too much to do,
//! the event goes on without: its user agent is then kept in `context` instead.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use isbot::Bots;
use metrics::Counter;
use quick_cache::sync::Cache;
use tokio::sync::oneshot;
use uaparser::{Parser, UserAgentParser};

use crate::metrics::Metrics;

/// uap-core's patterns, found by build.rs in the pinned `uaparser` package.
const BUILT_IN_PATTERNS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/regexes.yaml"));
/// Texts waiting for the parser: at 180 µs each, a request waits at most 50 ms.
const QUEUE_LENGTH: usize = 256;
/// Longer texts are no browser's, and cost the patterns more than they tell.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// What a user agent says; `None` where it is not recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    pub browser: Option<String>,
    pub browser_version: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub device: Option<String>,
    pub is_bot: bool,
}

type Request = (String, oneshot::Sender<Arc<Agent>>);

/// The cache and the way to the parser's thread.
pub struct UserAgents {
    known: Arc<Cache<String, Arc<Agent>>>,
    requests: Sender<Request>,
    hits: Counter,
    misses: Counter,
    skipped: Counter,
}

/// The patterns cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("user agent patterns {path}: {reason}")]
pub struct PatternsError {
    path: PathBuf,
    reason: String,
}

impl UserAgents {
    /// Starts the parser's thread. The built-in patterns are compiled there, so that start-up does not wait for them.
    pub fn start(patterns: Option<PathBuf>, entries: usize, metrics: &Metrics) -> Result<Self, PatternsError> {
        let own = match patterns {
            None => None,
            Some(path) => {
                let failed = |reason: String| PatternsError { path: path.clone(), reason };
                let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
                Some(compile(&bytes).map_err(failed)?)
            }
        };
        let known = Arc::new(Cache::new(entries));
        let (requests, waiting) = crossbeam_channel::bounded(QUEUE_LENGTH);
        let cache = Arc::clone(&known);
        let parse = move || {
            let Some(parser) = own.or_else(|| compile(BUILT_IN_PATTERNS).ok()) else {
                return;
            };
            parse_all(&waiting, &parser, &cache);
        };
        thread::Builder::new()
            .name("weir-user-agent".to_owned())
            .spawn(parse)
            .map_err(|error| PatternsError { path: PathBuf::new(), reason: error.to_string() })?;
        Ok(Self {
            known,
            requests,
            hits: metrics.user_agent_hits.clone(),
            misses: metrics.user_agent_misses.clone(),
            skipped: metrics.user_agent_skipped.clone(),
        })
    }

    /// What `text` says, or `None` when there is no time to find out.
    pub async fn look_up(&self, text: &str) -> Option<Arc<Agent>> {
        if let Some(agent) = self.known.get(text) {
            self.hits.increment(1);
            return Some(agent);
        }
        let (answer, wait) = oneshot::channel();
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || self.requests.try_send((text.to_owned(), answer)).is_err()
        {
            self.skipped.increment(1);
            return None;
        }
        self.misses.increment(1);
        wait.await.ok()
    }
}

fn compile(patterns: &[u8]) -> Result<UserAgentParser, String> {
    // Unicode classes would triple the memory, and user agents are ASCII.
    UserAgentParser::builder().with_unicode_support(false).build_from_bytes(patterns).map_err(|error| error.to_string())
}

/// Runs until the last [`UserAgents`] is gone.
fn parse_all(waiting: &Receiver<Request>, parser: &UserAgentParser, known: &Cache<String, Arc<Agent>>) {
    let bots = Bots::default();
    for (text, answer) in waiting {
        // Requests of one page load ask for the same text at the same time.
        let agent = known.get(&text).unwrap_or_else(|| Arc::new(parse(parser, &bots, &text)));
        known.insert(text, Arc::clone(&agent));
        // Whoever asked may be gone.
        let _ = answer.send(agent);
    }
}

fn parse(parser: &UserAgentParser, bots: &Bots, text: &str) -> Agent {
    let client = parser.parse(text);
    let recognized = |family: &str| (family != "Other").then(|| family.to_owned());
    let version = |parts: [Option<&str>; 3]| {
        let parts: Vec<&str> = parts.into_iter().map_while(|part| part).collect();
        (!parts.is_empty()).then(|| parts.join("."))
    };
    let (browser, os) = (&client.user_agent, &client.os);
    Agent {
        browser: recognized(&browser.family),
        browser_version: version([browser.major.as_deref(), browser.minor.as_deref(), browser.patch.as_deref()]),
        os: recognized(&os.family),
        os_version: version([os.major.as_deref(), os.minor.as_deref(), os.patch.as_deref()]),
        device: recognized(&client.device.family),
        is_bot: client.device.family == "Spider" || bots.is_bot(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &str =
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

    #[tokio::test]
    async fn agents_are_recognised_and_remembered() {
        let agents = UserAgents::start(None, 100, &Metrics::new()).expect("built-in patterns");
        let chrome = agents.look_up(CHROME).await.expect("parsed");
        assert_eq!(chrome.browser.as_deref(), Some("Chrome"));
        assert_eq!(chrome.browser_version.as_deref(), Some("142.0.0"));
        assert_eq!(chrome.os.as_deref(), Some("Linux"));
        assert!(!chrome.is_bot);
        assert!(Arc::ptr_eq(&chrome, &agents.look_up(CHROME).await.expect("known")));

        for (text, device, is_bot) in [
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Some("Spider"), true),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1",
                Some("iPhone"),
                false,
            ),
        ] {
            let agent = agents.look_up(text).await.expect("parsed");
            assert_eq!((agent.device.as_deref(), agent.is_bot), (device, is_bot), "{text}");
        }
    }

    #[tokio::test]
    async fn texts_that_no_browser_sends_are_skipped() {
        let agents = UserAgents::start(None, 100, &Metrics::new()).expect("built-in patterns");
        assert!(agents.look_up(&"x".repeat(TEXT_BYTES_MAX + 1)).await.is_none());
        assert!(agents.look_up("").await.is_none());
    }

    #[test]
    fn broken_patterns_are_told_at_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("regexes.yaml");
        std::fs::write(&file, "user_agent_parsers: 7").expect("written");
        assert!(UserAgents::start(Some(file), 100, &Metrics::new()).is_err());
    }
}
