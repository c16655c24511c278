//! What all pages have in common. The markup is that of `console/fixtures`, where its styles and scripts are tested.

pub mod entrance;
pub mod parts;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::auth::session::Session;

pub use entrance::{account, message, once_more, sign_in, to_sign_in};

pub const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' \
                    stroke='%230b6b8a' stroke-width='2.4' stroke-linecap='round'%3E%3Cpath d='M2 8q3.3-4 6.7 0t6.6 0T22 8M2 \
                    15h20M5 20h14'/%3E%3C/svg%3E";
pub const MARK: PreEscaped<&str> = PreEscaped(
    r#"<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" aria-hidden="true"><path d="M2 8q3.3-4 6.7 0t6.6 0T22 8M2 15h20M5 20h14"/></svg>"#,
);

/// A place in the bar at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Live,
    Dashboard,
    Sql,
    Queries,
    Operate,
    Docs,
    None,
}

pub const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::Live, "/", "Live"),
    (Section::Dashboard, "/dashboard", "Dashboard"),
    (Section::Sql, "/sql", "SQL"),
    (Section::Queries, "/queries", "Queries"),
    (Section::Operate, "/operate", "Operate"),
    (Section::Docs, "/docs/", "Docs"),
];

/// One page.
pub struct Page<'a> {
    pub title: &'a str,
    /// As which its scripts know it.
    pub name: &'a str,
    pub section: Section,
    /// How `main` is laid out.
    pub layout: &'a str,
    /// Whoever it is for; without, there is no bar.
    pub person: Option<&'a Session>,
    /// After so many seconds the page is asked for again.
    pub retry_s: Option<u32>,
    /// Whether it becomes another page as soon as an event is there.
    pub waiting: bool,
}

impl<'a> Page<'a> {
    pub fn new(title: &'a str, name: &'a str, section: Section, person: &'a Session) -> Self {
        Self { title, name, section, layout: "", person: Some(person), retry_s: None, waiting: false }
    }

    pub fn layout(self, layout: &'a str) -> Self {
        Self { layout, ..self }
    }

    /// The whole page around `main`.
    pub fn answer(&self, status: StatusCode, main: &Markup) -> Response {
        let layout = (!self.layout.is_empty()).then_some(self.layout);
        let role = self.person.map(|person| person.role.as_str());
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    @if let Some(person) = self.person { meta name="csrf" content=(person.csrf); }
                    title { (self.title) " · weir" }
                    link rel="icon" href=(ICON);
                    link rel="stylesheet" href=(assets::path("console.css"));
                    script src=(assets::path("theme.js")) {}
                    script type="module" src=(assets::path("console.js")) {}
                    // What that will import at once.
                    @match self.name {
                        "sql" => link rel="modulepreload" href=(assets::path("sql.js"));,
                        "dashboard" => link rel="modulepreload" href=(assets::path("chart.js"));,
                        _ => {}
                    }
                }
                body data-page=(self.name) data-person=[role] data-retry-s=[self.retry_s] data-waiting[self.waiting] {
                    a class="skip" href="#main" { "Skip to the content" }
                    @if let Some(person) = self.person { (bar(person, self.section)) }
                    main #main tabindex="-1" class=[layout] { (main) }
                }
            }
        };
        (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
    }

    /// As [`Self::answer`], where all is well.
    pub fn show(&self, main: &Markup) -> Response {
        self.answer(StatusCode::OK, main)
    }
}

fn bar(person: &Session, current: Section) -> Markup {
    let initial: String = person.role.chars().take(1).collect();
    html! {
        header class="bar" {
            a class="brand" href="/" { (MARK) "weir" }
            nav aria-label="Main" {
                @for (section, href, name) in SECTIONS {
                    a href=(href) aria-current=[(section == current).then_some("page")] { (name) }
                }
            }
            details class="menu" {
                summary {
                    span class="avatar" aria-hidden="true" { (initial) }
                    span class="who" { (person.role) }
                    span class="hidden-visually" { ": account, theme, sign out" }
                }
                div class="menu-body" {
                    p class="quiet small" { "Signed in as the role " strong { (person.role) } }
                    a href="/account" { "Account and sessions" }
                    div class="segments needs-script" role="group" aria-label="Theme" {
                        button type="button" data-theme-choice="system" aria-pressed="true" { "System" }
                        button type="button" data-theme-choice="light" aria-pressed="false" { "Light" }
                        button type="button" data-theme-choice="dark" aria-pressed="false" { "Dark" }
                    }
                    button type="button" class="needs-script" data-shortcuts { "Keyboard " kbd { "?" } }
                    hr;
                    form method="post" action="/sign-out" { (parts::csrf(person)) button { "Sign out" } }
                }
            }
        }
    }
}
