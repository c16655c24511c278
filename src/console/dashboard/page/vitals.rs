//! Web vitals, by Google's thresholds.

use maud::{Markup, html};

use crate::console::dashboard::answer::Answer;
use crate::console::page::parts::{Tone, badge, number};

/// One measure: as it is stored, its short and long name, up to where it is good, and from where it is poor. In
/// milliseconds, CLS without a unit. <https://web.dev/articles/vitals>
const VITALS: [(&str, &str, &str, f64, f64); 5] = [
    ("lcp", "LCP", "Largest paint", 2_500.0, 4_000.0),
    ("inp", "INP", "Reaction to input", 200.0, 500.0),
    ("cls", "CLS", "Layout shift", 0.1, 0.25),
    ("fcp", "FCP", "First paint", 1_800.0, 3_000.0),
    ("ttfb", "TTFB", "First byte", 800.0, 1_800.0),
];
/// Where the scale ends, in times of what is poor.
const SCALE: f64 = 1.5;

fn spoken(name: &str, value: f64) -> String {
    match name {
        "cls" => format!("{value:.2}"),
        _ if value < 1_000.0 => format!("{value:.0} ms"),
        _ => format!("{:.1} s", value / 1_000.0),
    }
}

/// What three of four measurements were no worse than.
pub fn vitals(answer: &Answer) -> Markup {
    let lines = match answer {
        Ok(lines) => lines,
        Err(error) => return html! { p class="quiet" { (error) } },
    };
    if lines.is_empty() {
        return html! { p class="quiet" { "Nothing was measured: " code { "w.full.js" } " does in the browsers of those who visit." } };
    }
    html! {
        p class="quiet small" { "What three of four page views were better than." }
        dl class="vitals" {
            @for (name, short, title, good, poor) in VITALS {
                @if let Some(line) = lines.iter().find(|line| line.list == name) {
                    // It comes in hundredths.
                    @let value = line.page_views as f64 / 100.0;
                    div class="vital" title={ (number(line.count)) " measurements" } {
                        dt { (title) " " span class="quiet" { (short) } }
                        dd class="value" { (spoken(name, value)) }
                        dd { (state(value, good, poor)) }
                        (scale(value, good, poor))
                    }
                }
            }
        }
    }
}

fn state(value: f64, good: f64, poor: f64) -> Markup {
    if value <= good {
        badge(Tone::Good, "good")
    } else if value <= poor {
        badge(Tone::Warn, "needs work")
    } else {
        badge(Tone::Bad, "poor")
    }
}

fn scale(value: f64, good: f64, poor: f64) -> Markup {
    let x = |of: f64| (of / (poor * SCALE) * 1_000.0).round() / 10.0;
    let (good, poor, mark) = (x(good), x(poor), x(value).min(99.2));
    html! {
        svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
            rect class="zone-good" width=(good) height="1" {}
            rect class="zone-warn" x=(good) width=(format!("{:.1}", poor - good)) height="1" {}
            rect class="zone-bad" x=(poor) width=(format!("{:.1}", 100.0 - poor)) height="1" {}
            rect class="mark" x=(mark) width="0.8" height="1" {}
        }
    }
}
