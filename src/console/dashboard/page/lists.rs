//! Ranked lists: some rows at a glance, or one list on its own.

use maud::{Markup, html};

use crate::console::dashboard::answer::{Answer, Line};
use crate::console::dashboard::countries;
use crate::console::dashboard::figures::{Sums, spoken};
use crate::console::dashboard::filter::Dimension;
use crate::console::dashboard::gather::Shown;
use crate::console::dashboard::page::vitals;
use crate::console::dashboard::view::{GLANCE_ROWS, LISTS, Metric, View};
use crate::console::page::parts::{number, table};
use crate::rollup::pack::properties::VALUES_MAX;

/// How many more rows a click brings.
const MORE_ROWS: i64 = 100;
/// Of a property, so many values of a day are told apart, without a filter: as in `rollups/properties_daily.sql`.
const VALUES_A_DAY_MAX: i64 = 200;

/// One panel with its tabs: `id`, title, and lists with the tabs' names.
type Panel = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const OF_PAGES: Panel = ("pages", "Pages", &[("pages", "Pages"), ("entry", "Entry"), ("exit", "Exit")]);
const OF_AUDIENCE: [Panel; 3] = [
    (
        "sources",
        "Where visits come from",
        &[("referrer", "Sources"), ("utm_medium", "Mediums"), ("utm_campaign", "Campaigns")],
    ),
    ("countries", "Countries", &[("country", "Countries"), ("region", "Regions")]),
    ("devices", "Devices", &[("device", "Devices"), ("browser", "Browsers"), ("os", "Systems")]),
];

/// All panels.
pub fn panels(view: &View, shown: &Shown) -> Markup {
    let sums = shown.figures.as_ref().map_or_else(|_| Sums::default(), |figures| figures.sums);
    let of = |(id, title, lists): Panel, answer: &Answer| {
        let tabs: Vec<(&str, Markup)> =
            lists.iter().map(|(list, name)| (*name, glance(view, list, answer, sums))).collect();
        panel(id, title, &tabs)
    };
    let properties = shown.properties.as_ref().zip(view.event.as_deref());
    let mut of_events = vec![("Events", glance(view, "events", &shown.events, sums))];
    if let Some((answer, event)) = properties {
        // First, because it was just asked for.
        of_events.insert(0, ("Properties", values_of(view, event, answer)));
    }
    html! {
        div class="grid-2" {
            (of(OF_PAGES, &shown.pages))
            @for panel in OF_AUDIENCE { (of(panel, &shown.audience)) }
            // Another name with properties: which tab of the other was open says nothing here.
            (panel(if properties.is_some() { "event" } else { "events" }, "Events", &of_events))
            (panel("vitals", "Web vitals", &[("", vitals::vitals(&shown.vitals))]))
        }
    }
}

fn panel(id: &str, title: &str, tabs: &[(&str, Markup)]) -> Markup {
    let has_tabs = tabs.len() > 1;
    html! {
        section class=(if has_tabs { "card panel" } else { "card panel single" }) aria-labelledby={ "panel-" (id) } {
            header class="card-head" {
                h2 id={ "panel-" (id) } { (title) }
                @if has_tabs {
                    div class="segments" role="radiogroup" aria-label=(title) {
                        @for (place, (name, _)) in tabs.iter().enumerate() {
                            label { input type="radio" name={ "panel-" (id) } value=(place) checked[place == 0]; (name) }
                        }
                    }
                }
            }
            @for (_, body) in tabs { div class="panel-body" { (body) } }
        }
    }
}

fn is_of_visits(list: &str) -> bool {
    matches!(list, "entry" | "exit")
}

fn glance(view: &View, list: &str, answer: &Answer, sums: Sums) -> Markup {
    let lines: Vec<&Line> = match answer {
        Ok(lines) => lines.iter().filter(|line| line.list == list).collect(),
        Err(error) => return html! { p class="quiet" { (error) } },
    };
    if lines.is_empty() {
        return html! { p class="quiet" { (nothing(list)) } };
    }
    let is_of_visits = is_of_visits(list);
    let is_events = list == "events";
    let whole = if is_of_visits { sums.visits } else { sums.visitors };
    let shown = |line: &Line| if is_of_visits || is_events { line.count } else { line.visitors };
    let of_whole = |line: &Line| if is_of_visits { line.count } else { line.visitors };
    let most = lines.first().map_or(1, |line| shown(line)).max(1);
    let unit = if is_events {
        "Events"
    } else if is_of_visits {
        "Visits"
    } else {
        "Visitors"
    };
    let is_more = lines.len() as i64 > GLANCE_ROWS;
    html! {
        p class="ranked-head" aria-hidden="true" { span {} span { (unit) } }
        ol class="ranked" {
            @for line in lines.iter().take(GLANCE_ROWS as usize) {
                @let name = name_of(list, &line.value);
                @let title = if is_events {
                    format!("{name}: {} events, {} visitors", number(line.count), number(line.visitors))
                } else { name.clone() };
                @let inside = html! {
                    span class="name" title=(title) { (name) }
                    span class="share number" { @if whole > 0 { (share(of_whole(line), whole)) } }
                    span class="number" { (number(shown(line))) }
                };
                li {
                    (behind(shown(line) as f64 / most as f64))
                    @match link(view, list, &line.value) {
                        Some(href) => a href=(href) { (inside) },
                        None => span class="line" { (inside) },
                    }
                }
            }
        }
        @if is_more { p class="small" { a href=(alone_url(view, list, MORE_ROWS)) { "More" } } }
    }
}

fn share(part: i64, whole: i64) -> String {
    let percent = part as f64 / whole as f64 * 100.0;
    if percent > 0.0 && percent < 1.0 { "<1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// A bar behind a row, by attributes: the page's policy takes no styles.
fn behind(share: f64) -> Markup {
    let width = (share.clamp(0.0, 1.0) * 1_000.0).round() / 10.0;
    html! { svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" { rect width=(width) height="1" {} } }
}

fn dimension_of(list: &str) -> Option<Dimension> {
    LISTS.iter().find(|(known, ..)| *known == list).and_then(|(.., dimension)| *dimension)
}

fn name_of(list: &str, value: &str) -> String {
    countries::spoken(dimension_of(list), value)
}

/// Where a row leads: to the same page with one filter more, or with an event's properties.
fn link(view: &View, list: &str, value: &str) -> Option<String> {
    if view.is_fixed {
        return None;
    }
    let mut view = view.clone();
    view.panel = None;
    if let Some(dimension) = dimension_of(list) {
        view.filters = view.filters.with(dimension, value);
        return Some(view.url());
    }
    view.event = Some(value.to_owned());
    Some(format!("{}#panel-event", view.url()))
}

fn alone_url(view: &View, list: &str, limit: i64) -> String {
    let list = LISTS.iter().find(|(known, ..)| *known == list).map(|(known, ..)| *known);
    view.url_with(|view| view.panel = list.map(|list| (list, limit)))
}

fn nothing(list: &str) -> &'static str {
    match list {
        "country" | "region" => "No place is known: enrich.geo_database in the settings says where one is looked up.",
        "utm_medium" | "utm_campaign" => "No visit came by a link with utm parameters.",
        "device" | "browser" | "os" => "No user agent was recognised.",
        "events" => "Nothing yet: weir.track('signup') in a page counts one.",
        _ => "Nothing here.",
    }
}

/// The values of an event's properties.
fn values_of(view: &View, event: &str, answer: &Answer) -> Markup {
    let lines = match answer {
        Ok(lines) => lines,
        Err(error) => return html! { p class="quiet" { (error) } },
    };
    let mut keys: Vec<&str> = lines.iter().map(|line| line.list.as_str()).collect();
    keys.dedup();
    let close = view.url_with(|view| view.event = None);
    let only = view.url_with(|view| view.filters = view.filters.with(Dimension::Event, event));
    html! {
        p class="small" {
            "Of " strong { (event) } " · "
            @if view.filters.get(Dimension::Event) != Some(event) { a href=(only) { "only visits with it" } " · " }
            a href=(close) { "close" }
        }
        @if keys.is_empty() { p class="quiet" { "It has no properties in this period." } }
        @let most_frequent = if view.filters.is_empty() { VALUES_A_DAY_MAX } else { VALUES_MAX as i64 };
        @for key in keys {
            @let of_key: Vec<&Line> = lines.iter().filter(|line| line.list == key).collect();
            @let most = of_key.first().map_or(1, |line| line.count).max(1);
            // Events that have the property, and those of them whose value was not kept.
            @let (all, untold) = of_key.first().map_or((0, 0), |line| (line.page_views, line.bounces));
            @let more = all - of_key.iter().map(|line| line.count).sum::<i64>();
            p class="ranked-head" { span { "by " code { (key) } } span { "Events" } }
            ol class="ranked" {
                @for line in of_key {
                    li {
                        (behind(line.count as f64 / most as f64))
                        span class="line" {
                            span class="name" title={ (line.value) ": " (number(line.visitors)) " visitors" } { (line.value) }
                            span class="share number" {}
                            span class="number" { (number(line.count)) }
                        }
                    }
                }
            }
            @if more > 0 {
                p class="quiet small" {
                    "and " (number(more)) " with other values"
                    @if untold > 0 {
                        ". A value counts on days on which it was among the " (number(most_frequent)) " most frequent."
                    }
                }
            }
        }
    }
}

/// One list on its own.
pub fn alone(view: &View, list: &str, answer: &Answer) -> Markup {
    let name = LISTS.iter().find(|(known, ..)| *known == list).map_or("", |(_, name, _)| name);
    let back = html! { p { a href=(view.url_with(|view| view.panel = None)) { "Back to the dashboard" } } };
    let limit = view.panel.map_or(GLANCE_ROWS, |(_, limit)| limit);
    let lines = match answer {
        Ok(lines) => lines,
        Err(error) => return html! { section class="card" { h2 { (name) } p class="quiet" { (error) } (back) } },
    };
    let lines: Vec<&Line> = lines.iter().filter(|line| line.list == list).collect();
    let heads: Vec<(&str, &str)> = match list {
        "pages" => vec![(name, ""), ("Visitors", "number"), ("Visits", "number"), ("Page views", "number")],
        "entry" => vec![(name, ""), ("Visits", "number"), ("Bounce rate", "number")],
        "exit" => vec![(name, ""), ("Visits", "number")],
        "events" => vec![(name, ""), ("Events", "number"), ("Visitors", "number")],
        _ => vec![
            (name, ""),
            ("Visitors", "number"),
            ("Visits", "number"),
            ("Page views", "number"),
            ("Bounce rate", "number"),
            ("Visit duration", "number"),
        ],
    };
    let rows = lines.iter().take(limit as usize).map(|line| {
        let value = name_of(list, &line.value);
        let sums = Sums::of([*line]);
        let figure = |metric: Metric| spoken(metric, sums.value(metric));
        let href = link(view, list, &line.value);
        let mut cells = vec![html! { @if let Some(href) = href { a href=(href) { (value) } } @else { (value) } }];
        let numbers = match list {
            "pages" => vec![number(line.visitors), number(line.count), number(line.page_views)],
            "entry" => vec![number(line.count), figure(Metric::BounceRate)],
            "exit" => vec![number(line.count)],
            "events" => vec![number(line.count), number(line.visitors)],
            _ => [Metric::Visitors, Metric::Visits, Metric::PageViews, Metric::BounceRate, Metric::VisitDuration]
                .map(figure)
                .to_vec(),
        };
        cells.extend(numbers.into_iter().map(|number| html! { (number) }));
        cells
    });
    let is_more = lines.len() as i64 > limit;
    html! {
        div class="stack" {
            section class="card flush" {
                div class="card-head" { h2 { (name) } p class="quiet small" { (view.days().spoken()) } }
                @if lines.is_empty() { p class="quiet" { (nothing(list)) } } @else { (table(name, &heads, rows)) }
            }
            @if is_more { p { a href=(alone_url(view, list, limit * 10)) { "More rows" } } }
            (back)
        }
    }
}
