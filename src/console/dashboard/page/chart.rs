//! The figures, and the chart of one of them.

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use crate::console::dashboard::figures::{Change, change, spoken};
use crate::console::dashboard::gather::Shown;
use crate::console::dashboard::period::{Compare, Grain};
use crate::console::dashboard::series::Point;
use crate::console::dashboard::view::{METRICS, Metric, View};
use crate::console::page::parts::{Tone, flash};

fn compared_with(view: &View) -> String {
    match view.compare {
        Compare::Year => "a year ago".to_owned(),
        _ => view.period.previous_spoken(view.days()),
    }
}

/// The six figures, each with its change.
pub fn figures(view: &View, shown: &Shown) -> Markup {
    let figures = match &shown.figures {
        Ok(figures) => figures,
        Err(error) => return flash(Tone::Warn, &html! { (error) }),
    };
    let before = shown.before.as_ref().and_then(|before| before.as_ref().ok());
    html! {
        div class="figures" {
            @for (metric, _, name) in METRICS {
                @let value = figures.sums.value(metric);
                a href=(view.url_with(|view| view.metric = metric)) aria-current=[(view.metric == metric).then_some("true")] {
                    span class="figure-name" { (name) }
                    span class="figure-value" { (spoken(metric, value)) }
                    @if let Some((text, kind)) = before.and_then(|before| change(metric, value, before.sums.value(metric))) {
                        @let class = match kind { Change::Good => " good", Change::Bad => " bad", Change::None => "" };
                        span class={ "figure-change" (class) } {
                            (text) span class="hidden-visually" { " to " (compared_with(view)) }
                        }
                    }
                }
            }
        }
        @if let Some(Err(error)) = &shown.before {
            p class="quiet small" { "What this is compared with: " (error) }
        }
    }
}

fn values(points: &[Point], metric: Metric, count: usize) -> Vec<Option<f64>> {
    let value = |(_, sums): &Point| sums.and_then(|sums| sums.value(metric));
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    points.iter().map(|point| value(point).map(rounded)).chain(std::iter::repeat(None)).take(count).collect()
}

fn label(at: Timestamp, grain: Grain) -> String {
    let format = match grain {
        Grain::Hour => "%H:%M",
        Grain::Day => "%-d %b",
        Grain::Month => "%b %Y",
    };
    at.strftime(format).to_string()
}

/// One figure over time.
pub fn chart(view: &View, shown: &Shown) -> Markup {
    let Ok(figures) = &shown.figures else { return html! {} };
    let (metric, days) = (view.metric, view.days());
    let grain = days.grain();
    let format = match metric {
        Metric::BounceRate => "percent",
        Metric::VisitDuration => "seconds",
        _ => "count",
    };
    let count = figures.points.len();
    let mut lines = vec![(days.spoken(), values(&figures.points, metric, count))];
    if let (Some(compared), Some(Ok(before))) = (view.compared(), &shown.before) {
        lines.push((compared.spoken(), values(&before.points, metric, count)));
    }
    let series: Vec<Value> = lines
        .iter()
        .enumerate()
        .map(|(place, (label, values))| match place {
            0 => json!({ "label": label, "values": values }),
            _ => json!({ "label": label, "values": values, "dash": true }),
        })
        .collect();
    let seconds: Vec<i64> = figures.points.iter().map(|(at, _)| at.as_second()).collect();
    let data = json!({
        "label": metric.title(), "format": format, "unit": grain.name(), "x": seconds, "series": series,
    });
    // Of JSON in a page, only `<` could end it.
    let data = data.to_string().replace('<', "\\u003c");
    let title = format!("{} by {}", metric.title(), grain.name());
    let spoken_title = lines
        .iter()
        .skip(1)
        .fold(format!("{title}, {}", days.spoken()), |title, (other, _)| format!("{title}, beside {other}"));
    html! {
        section class="card" {
            h2 class="hidden-visually" { (title) }
            figure class="chart" data-chart {
                script type="application/json" class="chart-data" { (PreEscaped(data)) }
                div class="plot" role="img" aria-label=(spoken_title) {}
                details {
                    summary { "As a table" }
                    div class="scroll tall" tabindex="0" role="region" aria-label=(title) {
                        table class="data" {
                            thead { tr {
                                th scope="col" { @match grain { Grain::Hour => "Hour (UTC)", Grain::Day => "Day", Grain::Month => "Month" } }
                                @for (label, _) in &lines { th scope="col" class="number" { (label) } }
                            } }
                            tbody {
                                @for (place, (at, _)) in figures.points.iter().enumerate() {
                                    tr {
                                        th scope="row" { (label(*at, grain)) }
                                        @for (_, values) in &lines {
                                            td class="number" { (spoken(metric, values.get(place).copied().flatten())) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
