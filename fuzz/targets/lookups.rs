//! What is derived from texts that clients send: the parts of a URL, and what a user agent says.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use weir::enrich::location::Location;
use weir::enrich::user_agent::{TEXT_BYTES_MAX, UserAgents};
use weir::metrics::Metrics;

use super::RUNTIME;

/// A thousand times what a browser's takes, since machines are slow and busy; the patterns must not be slower for anyone.
const PARSE_MAX: Duration = Duration::from_secs(2);

/// The parts of a URL hold no character that PostgreSQL cannot.
pub fn location(data: &[u8]) {
    // Decoders let no NUL through.
    let text = String::from_utf8_lossy(data).replace('\0', "\u{fffd}");
    let location = Location::parse(&text);
    let campaign = location.campaign();
    let utm = &campaign.utm;
    let campaign_texts = [&utm.source, &utm.medium, &utm.campaign, &utm.term, &utm.content];
    let parts = [location.host(), location.path(), location.query()];
    let texts = parts.into_iter().chain(campaign_texts.map(Option::as_deref)).flatten();
    for part in texts.chain(campaign.click_ids.iter().map(|(_, id)| id.as_str())) {
        assert!(!part.contains('\0'), "{part:?}");
    }
    assert_ne!(location.query(), Some(""));
    assert!(!location.path().unwrap_or_default().contains(['?', '#']));
    assert!(!location.query().unwrap_or_default().contains('#'));
    assert!(!location.host().unwrap_or_default().contains(['/', '?', '#', '@']));
}

static USER_AGENTS: LazyLock<UserAgents> = LazyLock::new(|| {
    let agents = UserAgents::start(None, 1, &Metrics::new()).expect("built-in patterns");
    // The patterns are compiled before the first answer.
    RUNTIME.block_on(agents.look_up("first"));
    agents
});

/// Any text is parsed in bounded time, and says only what a text column can hold.
pub fn user_agent(data: &[u8]) {
    let text = String::from_utf8_lossy(data).replace('\0', "\u{fffd}");
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    let agents = &*USER_AGENTS;
    let started = Instant::now();
    let agent = RUNTIME.block_on(agents.look_up(text));
    assert!(started.elapsed() < PARSE_MAX, "{:?} for {text:?}", started.elapsed());
    assert_eq!(agent.is_some(), !text.is_empty());
    for text in agent.iter().flat_map(|agent| [&agent.browser, &agent.browser_version, &agent.os, &agent.os_version]) {
        assert!(!text.as_deref().unwrap_or_default().contains('\0'));
    }
}
