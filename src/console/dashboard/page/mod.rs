//! The dashboard as a page. The markup is that of `console/fixtures/dashboard*.html`.

mod chart;
mod head;
mod lists;
mod notes;
mod share;
mod vitals;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use maud::{Markup, html};

use super::answer::Answer;
use super::countries;
use super::gather::{Facts, Shown};
use super::links::Link;
use super::view::{LISTS, View};
use crate::console::auth::session::Session;
use crate::console::page::parts::{Tone, flash};
use crate::console::page::{Page, Section};
use crate::demo::Demo;

pub use share::Sharing;

/// What is known besides the figures.
pub struct Around<'a> {
    /// Whether this collector computes rollups.
    pub follows_rollups: bool,
    /// What of the address was not understood.
    pub told: Option<String>,
    /// Whose key can be shown.
    pub first_source: Option<&'a Demo>,
}

/// The dashboard of whoever is signed in.
pub fn show(view: &View, shown: &Shown, around: &Around<'_>, sharing: &Sharing<'_>, person: &Session) -> Response {
    let main = html! {
        div class="head" {
            h1 { "Dashboard" }
            button type="button" class="needs-script" data-open="share" { "Share…" }
        }
        (head::filters(view, &shown.facts))
        @if let Some(told) = &around.told { (flash(Tone::Warn, &html! { (told) })) }
        (notes::rollups(&shown.facts, around))
        (head::chips(view))
        (body(view, shown, around))
        (share::dialog(view, sharing, person))
    };
    Page::new(&title(view), "dashboard", Section::Dashboard, person).show(&main)
}

/// The same for whoever has the link.
pub fn show_shared(view: &View, shown: &Shown, link: &Link) -> Response {
    let around = Around { follows_rollups: true, told: None, first_source: None };
    let main = html! {
        (shared_head(view, link))
        (body(view, shown, &around))
        p class="foot" { "Counted by weir, without cookies." }
    };
    bare(link, &main)
}

fn shared_head(view: &View, link: &Link) -> Markup {
    html! {
        div class="head" { div {
            h1 { (shared_title(link)) }
            p class="quiet" {
                (view.days().spoken()) " (UTC)"
                @for (dimension, value) in view.filters.iter() {
                    " · " (dimension.title()) " is " (countries::spoken(Some(dimension), value))
                }
                @if let Some(compared) = view.compared() { " · beside " (compared.spoken()) }
            }
        } }
        (head::filters(view, &Facts::default()))
    }
}

fn shared_title(link: &Link) -> String {
    if link.name.is_empty() {
        link.source.clone().unwrap_or_else(|| "All sources".to_owned())
    } else {
        link.name.clone()
    }
}

/// A page for anybody: no bar, and not for search engines.
fn bare(link: &Link, main: &Markup) -> Response {
    const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
    let title = shared_title(link);
    let page = Page {
        title: &title,
        name: "dashboard",
        section: Section::None,
        layout: "",
        person: None,
        retry_s: None,
        waiting: false,
    };
    let mut response = page.show(main);
    response.headers_mut().insert(ROBOTS, HeaderValue::from_static("noindex, nofollow"));
    response
}

fn title(view: &View) -> String {
    format!("{} · Dashboard", view.source.as_deref().unwrap_or("Every source"))
}

fn body(view: &View, shown: &Shown, around: &Around<'_>) -> Markup {
    let is_empty = shown.figures.as_ref().is_ok_and(|figures| figures.sums.visits == 0);
    let has_events = shown.events.as_ref().is_ok_and(|lines| lines.iter().any(|line| line.count > 0));
    if is_empty && !has_events {
        return notes::empty(view, shown, around);
    }
    html! {
        (chart::figures(view, shown))
        (chart::chart(view, shown))
        div class="stack" { p {} (lists::panels(view, shown)) (notes::words(view, shown)) }
    }
}

/// One list on its own, with all that is known of its rows.
pub fn show_list(view: &View, facts: &Facts, list: &str, answer: &Answer, person: &Session) -> Response {
    let main = html! {
        div class="head" { h1 { "Dashboard" } }
        (head::filters(view, facts))
        (head::chips(view))
        (lists::alone(view, list, answer))
    };
    let name = LISTS.iter().find(|(known, ..)| *known == list).map_or("", |(_, name, _)| name);
    Page::new(&format!("{name} · {}", title(view)), "dashboard", Section::Dashboard, person).show(&main)
}

/// The same for whoever has the link.
pub fn show_shared_list(view: &View, list: &str, answer: &Answer, link: &Link) -> Response {
    let main = html! { (shared_head(view, link)) (lists::alone(view, list, answer)) };
    bare(link, &main)
}
