//! What has to be said beside the figures: what they count, how old they are, and what to do where there are none.

use maud::{Markup, html};

use super::Around;
use crate::console::dashboard::gather::{Facts, Rollup, Shown};
use crate::console::dashboard::view::View;
use crate::console::page::parts::{Tone, copyable, flash, number};

/// Rollups follow within five minutes; after three times that something is wrong.
const BEHIND_MAX_S: i64 = 900;

/// Says so where the figures are not all there, or old.
pub fn rollups(facts: &Facts, around: &Around<'_>) -> Markup {
    let mut names: Vec<(&String, &Rollup)> = facts.rollups.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    let filling: Vec<_> = names.iter().filter(|(_, rollup)| rollup.waiting > 0).collect();
    let is_missing = names.iter().any(|(_, rollup)| !rollup.is_there && rollup.waiting == 0);
    // While they are filled, that says enough.
    let behind_s = names.iter().map(|(_, rollup)| rollup.behind_s).max().unwrap_or(0);
    let is_failing = names.iter().any(|(_, rollup)| rollup.is_failing);
    html! {
        @if !filling.is_empty() {
            (flash(Tone::Warn, &html! {
                "Figures are being made of the events that are there: "
                @for (place, (name, rollup)) in filling.iter().enumerate() {
                    @if place > 0 { ", " }
                    (name) " has " (number(rollup.waiting)) " days to go"
                }
                ". What is not there yet says so."
            }))
        }
        @if is_missing {
            (flash(Tone::Warn, &html! {
                "The dashboard reads rollups, and not all of them are there. "
                @if around.follows_rollups { "They are made within a minute, unless " code { "rollup.shipped" } " is false." }
                @else { "This weir makes none: " code { "rollup.concurrency" } " is 0." }
            }))
        } @else if !around.follows_rollups && !facts.rollups.is_empty() {
            (flash(Tone::Plain, &html! {
                "This weir computes no rollups (" code { "rollup.concurrency" } " is 0): figures are as old as another one leaves them."
            }))
        }
        @if behind_s > BEHIND_MAX_S && filling.is_empty() {
            (flash(Tone::Warn, &html! {
                "Figures are " (number(behind_s / 60)) " minutes behind the events."
                @if is_failing { " A rollup fails: " a href="/operate" { "Operate" } " has the reason." }
            }))
        }
    }
}

/// What the figures count, in small print.
pub fn words(view: &View, shown: &Shown) -> Markup {
    let without = shown
        .events
        .as_ref()
        .map_or(0, |lines| lines.iter().filter(|line| line.list == "without_visitor").map(|line| line.count).sum());
    html! {
        p class="quiet small" {
            "Days are UTC. A visit counts on the day on which it began"
            @if view.days().count() > 1 { "; visitors are those of each day, added up: who comes on two days counts twice" }
            ". Robots are left out."
            @if !view.filters.is_empty() { " All figures are of the visits that the filters leave." }
            @if without > 0 {
                " " (number(without)) " more page views came without a visitor, from browsers that ask for it: they are in no visit."
            }
        }
    }
}

/// Instead of figures, where there are none.
pub fn empty(view: &View, shown: &Shown, around: &Around<'_>) -> Markup {
    let days = view.days();
    let title = match days.count() {
        1 => format!("Nothing on {}", days.spoken()),
        count => format!("Nothing in these {count} days"),
    };
    let link = around.first_source;
    let (address, key) =
        link.map_or(("https://YOUR-COLLECTOR", "KEY"), |first| (first.collector.as_str(), first.public_key.as_str()));
    let tag = format!(r#"<script defer src="{address}/w.js" data-key="{key}"></script>"#);
    let latest = shown.latest.as_ref().and_then(|day| day.parse::<jiff::civil::Date>().ok());
    html! {
        section class="card" { div class="empty" {
            h2 { (title) }
            @if view.is_fixed {
                p { "Choose another period." }
            } @else if !view.filters.is_empty() {
                p { "No visit is left by these filters. Remove one above, or choose a longer period." }
            } @else if let Some(day) = latest {
                @let other = view.url_with(|view| {
                    let from = day.first_of_month();
                    view.period = crate::console::dashboard::period::Period::Custom { from, to: day.last_of_month().min(view.today) };
                });
                p { "The latest visit was on " (day.strftime("%-d %B %Y").to_string()) ": " a href=(other) { "show that month" } "." }
            } @else {
                p {
                    @match &view.source {
                        Some(source) => { "The source " strong { (source) } " has sent no page view yet." }
                        None => "No page view has come yet.",
                    }
                    " The dashboard follows within five minutes of the first one."
                }
                (copyable("tag", &tag))
                p {
                    a href="/" { "Watch it arrive" }
                    @if view.source.is_some() { ", or " a href=(view.url_with(|view| view.source = None)) { "show every source" } }
                    "."
                }
            }
        } }
    }
}
