//! The dialog that makes links, and lists those there are.

use maud::{Markup, html};

use super::head::hidden;
use crate::console::auth::session::Session;
use crate::console::dashboard::countries;
use crate::console::dashboard::links::Link;
use crate::console::dashboard::view::View;
use crate::console::page::parts::{Ask, copyable, csrf, post, table};

/// What there is to say of links.
pub struct Sharing<'a> {
    pub links: &'a [Link],
    /// The one that was just made.
    pub made: Option<&'a Link>,
    /// This console's address.
    pub base: &'a str,
}

/// Closed, unless a link was just made.
pub fn dialog(view: &View, sharing: &Sharing<'_>, person: &Session) -> Markup {
    html! {
        dialog #share aria-labelledby="share-title" data-open-now[sharing.made.is_some()] {
            h2 #share-title { "Share this dashboard" }
            @if let Some(link) = sharing.made {
                p { "Made. Whoever has it needs no sign-in:" }
                (copyable("link", &address(sharing, link)))
                div class="row end" { button type="button" data-close { "Done" } }
            } @else {
                (form(view, person))
                (list(sharing, person))
            }
        }
    }
}

fn address(sharing: &Sharing<'_>, link: &Link) -> String {
    format!("{}/shared/{}", sharing.base, link.id)
}

fn form(view: &View, person: &Session) -> Markup {
    html! {
        p {
            "Whoever has the link sees these figures, of "
            @match &view.source { Some(source) => { "the source " strong { (source) } } None => strong { "every source" } }
            " and with these filters, and nothing else. They may choose another period. No sign-in."
        }
        form method="post" action="/dashboard/links" {
            (csrf(person))
            (hidden(view, &["panel", "limit", "event"]))
            div class="field" {
                label for="link-name" { "What it is for" }
                input #link-name name="name" maxlength="100" placeholder="Agency, autumn campaign" required;
            }
            div class="field" {
                label for="link-until" { "Until" }
                select #link-until name="until" {
                    option value="30d" { "30 days from now" }
                    option value="1y" { "a year from now" }
                    option value="" { "taken back by hand" }
                }
            }
            div class="row end" { button type="button" data-close { "Cancel" } " " button class="primary" { "Make a link" } }
        }
    }
}

fn list(sharing: &Sharing<'_>, person: &Session) -> Markup {
    let heads = [("Link", ""), ("Shows", ""), ("By", ""), ("Until", ""), ("", "actions")];
    let rows = sharing.links.iter().map(|link| {
        let is_ones = link.role == person.role || person.is_operator();
        let name = if link.name.is_empty() { "without a name" } else { link.name.as_str() };
        let ask = Ask { question: "Remove this link? Whoever has it sees nothing from then on.", yes: "Remove it" };
        vec![
            html! { a href={ "/shared/" (link.id) } { (name) } },
            html! {
                (link.source.as_deref().unwrap_or("every source"))
                @match &link.filters {
                    Some(filters) => @for (dimension, value) in filters.iter() {
                        ", " (dimension.title()) " is " (countries::spoken(Some(dimension), value))
                    },
                    None => ", filters that are not understood: it is closed",
                }
            },
            html! { (link.role) },
            html! { span class="nowrap" { (link.expires_on.as_deref().unwrap_or("removed")) } },
            html! { @if is_ones { (post(person, "/dashboard/links/remove", &[("link", &link.id)], "Remove", Some(ask))) } },
        ]
    });
    html! { @if !sharing.links.is_empty() { h3 { "Links there are" } (table("Links there are", &heads, rows)) } }
}
