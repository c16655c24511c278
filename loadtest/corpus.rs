//! The texts of the traffic: user agents of real browsers, and a few sites' pages.

use std::collections::BTreeSet;

use crate::random::Random;

/// A busy day's user agents of a site of this size, bots among them.
pub const USER_AGENTS: usize = 300;
/// Distinct URLs; visits follow Zipf's law over them.
pub const PAGES: usize = 6_000;
/// Events that differ in everything but their page: referrer, campaign, properties.
const VARIANTS_OF_A_PAGE: usize = 2;

const SITES: [&str; 4] =
    ["www.millstream.example", "shop.millstream.example", "docs.millstream.example", "app.millstream.example"];
const WORDS: [&str; 24] = [
    "amber", "basin", "copper", "delta", "ember", "ferry", "garnet", "harbor", "indigo", "juniper", "kettle",
    "lantern", "meadow", "nickel", "orchard", "pebble", "quarry", "ribbon", "saddle", "timber", "umber", "velvet",
    "willow", "yarrow",
];
const REFERRERS: [&str; 8] = [
    "",
    "",
    "https://www.google.com/",
    "https://www.google.com/",
    "https://www.bing.com/",
    "https://t.co/",
    "https://l.facebook.com/",
    "https://news.ycombinator.com/item?id=38771203",
];
const CAMPAIGNS: [&str; 4] = [
    "utm_source=newsletter&utm_medium=email&utm_campaign=autumn_2026",
    "utm_source=google&utm_medium=cpc&utm_campaign=brand&utm_term=mill+stream&gclid=EAIaIQobChMI4rDx9aXhiQMVE",
    "utm_source=facebook&utm_medium=paid_social&utm_campaign=retargeting&utm_content=carousel_b&fbclid=IwAR2F4dbP0l7",
    "utm_source=partner&utm_medium=referral",
];
const SCREENS: [&str; 6] = ["1920x1080", "1536x864", "2560x1440", "390x844", "412x915", "360x800"];
const LANGUAGES: [&str; 6] = ["en-US", "en-US", "en-GB", "de-DE", "fr-FR", "pt-BR"];
/// Of events that are no page views: their kind, name, and how many properties they carry.
const ACTIONS: [(&str, &str, usize); 5] = [
    ("track", "add_to_cart", 4),
    ("track", "search", 2),
    ("click", "cta_pricing", 1),
    ("track", "signup_step", 3),
    ("track", "checkout_completed", 8),
];

/// The event of one page view or action, but for its id, time and visitor.
pub struct Page {
    /// `"type":"page"`, or type and name.
    pub kind: String,
    /// All members from `url` on, beginning with a comma.
    pub rest: String,
    /// Headers that name the site.
    pub site_headers: String,
}

/// All pages, the most visited first: [`VARIANTS_OF_A_PAGE`] for each URL.
pub fn pages(random: &mut Random) -> Vec<Page> {
    (0..PAGES)
        .flat_map(|rank| {
            let (site, path) = address(rank);
            (0..VARIANTS_OF_A_PAGE).map(|_| page(random, rank, site, &path)).collect::<Vec<_>>()
        })
        .collect()
}

/// A URL of its own for each rank.
fn address(rank: usize) -> (&'static str, String) {
    let (first, second) = (WORDS[rank % WORDS.len()], WORDS[(rank / WORDS.len()) % WORDS.len()]);
    let path = match rank {
        0 => "/".to_owned(),
        1 => "/pricing".to_owned(),
        _ => match rank % 4 {
            0 => format!("/blog/2026/{first}-and-{second}-{rank}"),
            1 => format!("/collections/{first}/{second}-{rank}"),
            2 => format!("/guides/{first}/{second}/{rank}"),
            _ => format!("/projects/{rank}/{first}"),
        },
    };
    (SITES[rank % SITES.len()], path)
}

fn page(random: &mut Random, rank: usize, site: &str, path: &str) -> Page {
    let action = (random.below(4) == 0).then(|| random.pick(&ACTIONS));
    let kind = action
        .map_or_else(|| r#""type":"page""#.to_owned(), |(kind, name, _)| format!(r#""type":"{kind}","name":"{name}""#));
    let query = match random.below(8) {
        0 => format!("?{}", random.pick(&CAMPAIGNS)),
        1 => format!("?page={}&sort=price_asc", random.below(9) + 1),
        _ => String::new(),
    };
    let referrer = match random.below(3) {
        0 => format!("https://{site}/"),
        _ => (*random.pick(&REFERRERS)).to_owned(),
    };
    let (word, screen, language) = (WORDS[rank % WORDS.len()], random.pick(&SCREENS), random.pick(&LANGUAGES));
    let properties = properties(random, action.map_or(0, |(.., count)| *count));
    Page {
        kind,
        rest: format!(
            r#","url":"https://{site}{path}{query}","referrer":"{referrer}","title":"{word} {rank} | Millstream"{properties},"screen":"{screen}","language":"{language}""#
        ),
        site_headers: format!("Origin: https://{site}\r\nReferer: https://{site}/\r\n"),
    }
}

fn properties(random: &mut Random, count: usize) -> String {
    let members: Vec<String> = (0..count)
        .map(|index| match index % 4 {
            0 => format!(r#""sku":"{}-{:04}""#, random.pick(&WORDS), random.below(10_000)),
            1 => format!(r#""price_{index}":{}.{:02}"#, random.below(400), random.below(100)),
            2 => format!(r#""variant_{index}":"{}""#, random.pick(&WORDS)),
            _ => format!(r#""in_stock_{index}":{}"#, random.below(2) == 0),
        })
        .collect();
    if members.is_empty() { String::new() } else { format!(r#","properties":{{{}}}"#, members.join(",")) }
}

/// Distinct user agents, the most frequent first.
pub fn user_agents(random: &mut Random) -> Vec<String> {
    let mut agents: Vec<String> = all_user_agents().into_iter().collect();
    // Any order does, as long as popularity is not alphabetical.
    for last in (1..agents.len()).rev() {
        agents.swap(last, random.below(last + 1));
    }
    agents.truncate(USER_AGENTS);
    agents
}

fn all_user_agents() -> BTreeSet<String> {
    const WEBKIT: &str = "AppleWebKit/537.36 (KHTML, like Gecko)";
    const DESKTOPS: [&str; 3] =
        ["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64"];
    const PHONES: [&str; 8] =
        ["SM-S911B", "SM-A546B", "SM-G991U", "Pixel 7", "Pixel 8 Pro", "M2101K6G", "CPH2411", "moto g power"];
    let mut agents = BTreeSet::new();
    for version in 118..=142 {
        let chrome = format!("Chrome/{version}.0.0.0");
        for desktop in DESKTOPS {
            agents.insert(format!("Mozilla/5.0 ({desktop}) {WEBKIT} {chrome} Safari/537.36"));
            agents.insert(format!(
                "Mozilla/5.0 ({}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0",
                desktop.replace("10_15_7", "10.15")
            ));
        }
        let windows = DESKTOPS[0];
        agents.insert(format!("Mozilla/5.0 ({windows}) {WEBKIT} {chrome} Safari/537.36 Edg/{version}.0.0.0"));
        agents.insert(format!("Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} {chrome} Mobile Safari/537.36"));
        let phone = PHONES[version % PHONES.len()];
        agents.insert(format!(
            "Mozilla/5.0 (Linux; Android 1{}; {phone} Build/UP1A.231005.007; wv) {WEBKIT} Version/4.0 {chrome} Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/48{}.0.0.61.77;]",
            2 + version % 3,
            version % 10
        ));
        agents.insert(format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/{version}.0.6099.119 Mobile/15E148 Safari/604.1",
            version % 7
        ));
    }
    for major in 16..=18 {
        for minor in 0..=6 {
            let safari = "AppleWebKit/605.1.15 (KHTML, like Gecko)";
            agents.insert(format!(
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {safari} Version/{major}.{minor} Safari/605.1.15"
            ));
            agents.insert(format!(
                "Mozilla/5.0 (iPhone; CPU iPhone OS {major}_{minor} like Mac OS X) {safari} Version/{major}.{minor} Mobile/15E148 Safari/604.1"
            ));
            agents.insert(format!(
                "Mozilla/5.0 (iPad; CPU OS {major}_{minor} like Mac OS X) {safari} Version/{major}.{minor} Mobile/15E148 Safari/604.1"
            ));
        }
    }
    for bot in [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    ] {
        agents.insert(bot.to_owned());
    }
    agents
}
