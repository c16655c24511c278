//! What the site's pages look like: a list of all pages, the text, and what is on the page.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::library::{PAGES, Page};
use super::markdown::{Heading, Rendered};
use crate::console::assets;
use crate::console::page::{ICON, MARK, SECTIONS, Section};

/// Headings of these ranks are listed beside a page.
const LISTED: std::ops::RangeInclusive<usize> = 2..=3;
/// Fewer need no list.
const LISTED_MIN: usize = 3;

pub fn show(page: &Page, rendered: &Rendered) -> Response {
    let listed: Vec<&Heading> = rendered.headings.iter().filter(|heading| LISTED.contains(&heading.level)).collect();
    let on_page = (listed.len() >= LISTED_MIN).then(|| headings(&listed));
    answer(StatusCode::OK, &rendered.title, Some(page.slug), &html! { (rendered.body) }, on_page.as_ref())
}

fn headings(listed: &[&Heading]) -> Markup {
    html! {
        ul { @for heading in listed {
            li class=[(heading.level > 2).then_some("lower")] { a href={ "#" (heading.id) } { (heading.text) } }
        } }
    }
}

/// Every heading of every page.
pub fn contents(all: &BTreeMap<&'static str, Rendered>) -> Response {
    let text = html! {
        h1 { "All headings" }
        @for page in PAGES {
            @if let Some(rendered) = all.get(page.slug) {
                h2 { a href={ "/docs/" (page.slug) } { (rendered.title) } }
                ul { @for heading in rendered.headings.iter().filter(|heading| LISTED.contains(&heading.level)) {
                    li { a href={ "/docs/" (page.slug) "#" (heading.id) } { (heading.text) } }
                } }
            }
        }
    };
    answer(StatusCode::OK, "All headings", Some("contents"), &text, None)
}

pub fn not_found() -> Response {
    let text = html! {
        h1 { "There is no such page" }
        p { "The list beside this has all of them, and " a href="/docs/contents" { "all headings" } " are on one page." }
    };
    answer(StatusCode::NOT_FOUND, "There is no such page", None, &text, None)
}

fn answer(status: StatusCode, title: &str, slug: Option<&str>, text: &Markup, on_page: Option<&Markup>) -> Response {
    let asset = |name: &str| format!("/docs{}", assets::path(name));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · weir" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(asset("docs.css"));
                script src=(asset("theme.js")) {}
            }
            body data-page="docs" {
                a class="skip" href="#main" { "Skip to the content" }
                header class="bar" {
                    a class="brand" href="/" { (MARK) "weir" }
                    nav aria-label="Main" {
                        @for (section, href, name) in SECTIONS {
                            a href=(href) aria-current=[(section == Section::Docs).then_some("true")] { (name) }
                        }
                    }
                }
                div class="docs" {
                    main #main tabindex="-1" {
                        // Where there is no room beside the text.
                        p class="to-pages" { a href="#pages" { "All pages" } }
                        @if let Some(on_page) = on_page { details class="above" { summary { "On this page" } (on_page) } }
                        article { (text) }
                    }
                    nav #pages class="pages" aria-label="Documentation" { (list(slug)) }
                    @if let Some(on_page) = on_page {
                        nav class="beside" aria-label="On this page" { p { "On this page" } (on_page) }
                    }
                }
            }
        }
    };
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

fn list(current: Option<&str>) -> Markup {
    let groups = PAGES.chunk_by(|one, next| one.group == next.group);
    let is_current = |slug: &str| (current == Some(slug)).then_some("page");
    html! {
        @for group in groups {
            p { (group[0].group) }
            ul { @for page in group {
                li { a href={ "/docs/" (page.slug) } aria-current=[is_current(page.slug)] { (page.name) } }
            } }
        }
        p { "For machines" }
        ul {
            li { a href="/docs/openapi.json" { "OpenAPI" } }
            li { a href="/docs/contents" aria-current=[is_current("contents")] { "All headings" } }
        }
    }
}
