//! Signing in, messages, and a person's own page.

use std::sync::Arc;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::parts::{Ask, Tone, badge, csrf, facts, flash, table};
use super::{MARK, Page, Section};
use crate::console::auth::session::Session;

/// A page that was asked for while the database is away looks again by itself.
const RETRY_S: u32 = 5;

fn lone<'a>(title: &'a str, name: &'a str, layout: &'a str) -> Page<'a> {
    Page { title, name, section: Section::None, layout, person: None, retry_s: None, waiting: false }
}

/// Asks for role and password.
pub fn sign_in(status: StatusCode, role: &str, next: &str, told: Option<&str>) -> Response {
    let main = html! {
        p class="brand" { (MARK) "weir" }
        section class="card" {
            h1 { "Sign in" }
            p class="quiet" {
                "With your PostgreSQL role: what it may read, you may read here. weir keeps no passwords of its own."
            }
            @if let Some(told) = told { (flash(Tone::Bad, &html! { (told) })) }
            form method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                div class="field" {
                    label for="role" { "Role" }
                    input #role name="role" value=(role) autocomplete="username" autocapitalize="none" spellcheck="false"
                        maxlength="63" required autofocus;
                }
                div class="field" {
                    label for="password" { "Password" }
                    input #password name="password" type="password" autocomplete="current-password" maxlength="1000" required;
                }
                button class="primary" { "Sign in" }
            }
        }
        p class="quiet small" { "No role yet? Whoever runs weir makes one: " code { "weir analyst add NAME" } }
    };
    lone("Sign in", "sign-in", "lone").answer(status, &main)
}

/// To where people sign in, and back to `path` then.
pub fn to_sign_in(path: &str) -> Response {
    if path == "/" {
        return Redirect::to("/sign-in").into_response();
    }
    let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?next={next}")).into_response()
}

/// Has the browser ask for the same page again, as from here.
pub fn once_more() -> Response {
    const REFRESH: (HeaderName, &str) = (HeaderName::from_static("refresh"), "0");
    let page = html! { title { "weir" } p { "One moment…" } };
    ([REFRESH, (header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

/// Says what went wrong.
pub fn message(status: StatusCode, told: &str, person: Option<&Session>) -> Response {
    let (title, more) = match status {
        StatusCode::FORBIDDEN => ("Not for you", html! {}),
        StatusCode::NOT_FOUND => (
            "There is nothing here",
            html! {
                p { "A result is gone when its time is over, and what is private is not shown to others; both look like this." }
                p class="row" {
                    a class="button" href="/queries" { "Saved queries" } " "
                    a class="button" href="/results" { "Your results" }
                }
            },
        ),
        StatusCode::SERVICE_UNAVAILABLE => (
            "The database is away",
            html! {
                p { "Events are still taken: they wait in the journal, and are stored once it is back." }
                p class="quiet small" { "This page looks again by itself, every " (RETRY_S) " seconds." }
            },
        ),
        StatusCode::UNAUTHORIZED => ("Sign in first", html! { p { a class="button" href="/sign-in" { "Sign in" } } }),
        _ => ("This did not work", html! {}),
    };
    let main = html! {
        section class="card" {
            p class="status-code" { (status.as_u16()) }
            h1 { (title) }
            @if status != StatusCode::NOT_FOUND { p { (told) } }
            (more)
            p { a href="/" { "Back to what is live" } }
        }
    };
    let retry_s = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_S);
    Page { person, retry_s, ..lone(title, "message", "lone message") }.answer(status, &main)
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => "now".to_owned(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// The password, and where else one is signed in.
pub fn account(person: &Session, sessions: &[Arc<Session>], told: Option<&str>) -> Response {
    let rows = sessions.iter().map(|session| {
        let is_this = session.label() == person.label();
        let question =
            Ask { question: "End this session? Whoever uses it has to sign in again.", yes: "End it" };
        vec![
            html! { (session.agent) },
            html! { (session.address) },
            html! { (ago(session.opened.elapsed().as_secs())) },
            html! { (ago(session.idle_s())) },
            html! {
                @if is_this { (badge(Tone::Good, "this one")) } @else {
                    (super::parts::post(person, "/account/sessions/end", &[("session", &session.label())], "End", Some(question)))
                }
            },
        ]
    });
    let heads = [("Browser", ""), ("Address", ""), ("Signed in", ""), ("Seen", ""), ("", "actions")];
    let others = Ask { question: "End all sessions but this one?", yes: "End them" };
    let main = html! {
        div class="head" { h1 { "Account" } }
        @if let Some(told) = told { (flash(Tone::Bad, &html! { (told) })) }
        section class="card" {
            h2 { "The role " code { (person.role) } }
            (facts(&[("May operate weir", html! { @if person.is_operator() { "yes" } @else { "no" } })]))
        }
        (password_form(person))
        section class="card flush" {
            div class="card-head" {
                h2 { "Sessions" }
                (super::parts::post(person, "/account/sessions/end-others", &[], "End all others", Some(others)))
            }
            (table("Sessions", &heads, rows))
        }
    };
    let status = if told.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Page::new("Account", "account", Section::None, person).layout("narrow").answer(status, &main)
}

fn password_form(person: &Session) -> Markup {
    let field = |id: &str, label: &str, complete: &str| {
        html! {
            div class="field" {
                label for=(id) { (label) }
                input id=(id) name=(id) type="password" autocomplete=(complete) maxlength="1000" required;
            }
        }
    };
    html! {
        section class="card" {
            h2 { "Change the password" }
            p class="quiet" {
                "It is the password of the role in PostgreSQL: " code { "psql" } " and other programs use it, too. At least 12 \
                 characters. You sign in again with the new one."
            }
            form method="post" action="/account/password" {
                (csrf(person))
                input type="hidden" name="role" autocomplete="username" value=(person.role);
                (field("current", "Old password", "current-password"))
                (field("new", "New password", "new-password"))
                (field("again", "New password again", "new-password"))
                button class="primary" { "Change it" }
            }
        }
    }
}
