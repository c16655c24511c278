//! The page of a query, and that of the editor, which is the same without a query.

use axum::http::HeaderMap;
use axum::response::Response;
use maud::{Markup, html};

use super::schedule;
use super::store::{Query, Version};
use crate::console::auth::session::Session;
use crate::console::page::parts::{Ask, Tone, badge, copyable, csrf, duration, facts, flash, number, post, time};
use crate::console::page::{Page, Section};
use crate::console::results::pages::{downloads, result};
use crate::console::results::store::Kept;
use crate::console::run::rows::Values;
use crate::console::{Console, links};

/// What the editor begins with.
#[derive(Debug, Default)]
pub struct Draft {
    pub sql: String,
    pub chart: Option<String>,
    pub title: String,
    pub description: String,
    pub shares_results: bool,
    /// The query that it is of.
    pub slug: Option<String>,
    pub is_own: bool,
    /// Somebody else wrote it: until it is changed, it only reads.
    pub is_foreign: bool,
    pub forked_from: Option<String>,
}

/// `/sql`.
pub fn editor(draft: &Draft, person: &Session) -> Response {
    let main = html! {
        (tables())
        div class="desk" {
            h1 class="hidden-visually" { "SQL" }
            (runner(draft))
            div #answer {}
        }
        (dialogs(draft))
    };
    Page::new("SQL", "sql", Section::Sql, person).layout("workbench").show(&main)
}

/// `/q/SLUG`.
pub fn query(
    console: &Console,
    query: &Query,
    versions: &[Version],
    newest: Option<&(Kept, Vec<Values>)>,
    person: &Session,
    headers: &HeaderMap,
) -> Response {
    let is_own = query.role == person.role;
    let draft = Draft {
        sql: query.text.sql.clone(),
        chart: query.text.chart.clone(),
        title: query.text.title.clone(),
        description: query.text.description.clone(),
        shares_results: query.text.shares_results,
        slug: Some(query.slug.clone()),
        is_own,
        is_foreign: !is_own,
        forked_from: None,
    };
    let gone = Ask {
        question: "Delete this query, with its versions and schedule? Its results stay until their time is over.",
        yes: "Delete it",
    };
    let main = html! {
        (tables())
        div class="desk" {
            div class="head" {
                div { h1 { (query.text.title) } p class="quiet" { (query.text.description) } }
                div class="row" {
                    a class="button" href={ "/sql?query=" (query.slug) } { "Fork" }
                    @if is_own { (post(person, &format!("/q/{}/delete", query.slug), &[], "Delete", Some(gone))) }
                }
            }
            (facts(&[
                ("By", html! { (query.role) }),
                ("Version", html! { (query.version) " of " (query.newest_version) }),
                ("Changed", time(&query.changed_at)),
                ("Runs", html! { (schedule::spoken(query.cron.as_deref())) }),
                ("Results", html! { @if query.text.shares_results { "for colleagues, too" } @else { "for whoever runs it" } }),
            ]))
            @if let Some(of) = &query.forked_from { p class="quiet small" { "Forked from " a href={ "/q/" (of) } { (of) } } }
            p {}
            (runner(&draft))
            div #answer {
                @if let Some((kept, rows)) = newest {
                    (result(kept, rows, &html! {
                        (facts(&[
                            ("Latest result", time(&kept.started_at)),
                            ("By", html! { (kept.role) }),
                            ("Rows", html! { (number(kept.row_count)) }),
                            ("Took", html! { (duration(kept.duration_ms)) }),
                        ]))
                        div class="row" { (downloads(&kept.id)) a class="button tiny" href={ "/r/" (kept.id) } { "Open" } }
                    }))
                } @else { p class="quiet" { "Nothing is kept of it that you may see: run it." } }
            }
            div class="stack" {
                p {}
                div class="grid-2" {
                    (texts(query, versions))
                    @if is_own { (schedule_form(query, person)) (spreadsheets(console, query, person, headers)) }
                }
            }
        }
        (dialogs(&draft))
    };
    Page::new(&query.text.title, "sql", Section::Queries, person).layout("workbench").show(&main)
}

fn tables() -> Markup {
    html! {
        aside class="schema needs-script" aria-label="Tables" {
            button type="button" class="schema-toggle" #schema-toggle aria-expanded="false" aria-controls="schema-tree" { "Tables" }
            div class="schema-head" {
                label class="hidden-visually" for="schema-search" { "Find a table or column" }
                input #schema-search type="search" placeholder="Find a table or column" data-search autocomplete="off";
            }
            div class="schema-tree" #schema-tree tabindex="-1" { p class="note" { "Loading…" } }
        }
    }
}

fn runner(draft: &Draft) -> Markup {
    html! {
        noscript { (flash(Tone::Warn, &html! { "Running a query needs JavaScript. Results open without it." })) }
        p class="draft" #draft role="status" hidden {
            "What you had typed is here again. " button type="button" #drop-draft { "Drop it" }
        }
        form #runner data-query=[draft.slug.as_deref()] data-own[draft.is_own] data-foreign[draft.is_foreign] data-chart=[draft.chart.as_deref()]
            data-forked-from=[draft.forked_from.as_deref()] {
            label class="hidden-visually" for="sql" { "SQL" }
            div class="editor" {
                textarea #sql name="sql" rows="10" spellcheck="false" autocapitalize="none" autocomplete="off" maxlength="100000"
                    placeholder="select … from analytics.page_views" {
                    // The first end of a line in there is not part of the text.
                    "\n" (draft.sql)
                }
            }
            fieldset class="parameters" #parameters hidden { legend class="hidden-visually" { "Parameters" } }
            div class="toolbar needs-script" {
                button class="primary" #run aria-keyshortcuts="Control+Enter" title="Ctrl+Enter: all, or what is selected" { "Run" }
                button type="button" #cancel disabled { "Cancel" }
                button type="button" #format aria-keyshortcuts="Shift+Alt+F" title="Shift+Alt+F" { "Format" }
                button type="button" #save-query { "Save…" }
                button type="button" #show-history { "History" }
                span class="run-state" #run-state role="status" {}
            }
        }
    }
}

fn dialogs(draft: &Draft) -> Markup {
    html! {
        dialog #save aria-labelledby="save-title" {
            h2 #save-title { "Save this query" }
            form #save-form method="dialog" {
                div class="field" {
                    label for="query-title" { "Title" }
                    input #query-title name="title" maxlength="200" required value=(draft.title);
                }
                div class="field" {
                    label for="query-description" { "What it answers" }
                    textarea #query-description name="description" rows="3" maxlength="2000" { (draft.description) }
                }
                label class="check" {
                    input #query-shares type="checkbox" name="shares_results" checked[draft.shares_results];
                    " Colleagues see its results, also without a grant on the tables they are from"
                }
                p class="bad" role="alert" #save-error hidden {}
                div class="row end" { button type="button" data-close { "Cancel" } button class="primary" { "Save" } }
            }
        }
        dialog #history class="drawer" aria-labelledby="history-title" {
            div class="card-head" { h2 #history-title { "History" } button type="button" class="ghost" data-close { "Close" } }
            ol class="history" #history-list {}
        }
    }
}

fn texts(query: &Query, versions: &[Version]) -> Markup {
    html! {
        section class="card" aria-labelledby="versions" {
            h2 #versions { "Versions" }
            ol class="ranked" {
                @for version in versions {
                    @let is_shown = version.version == query.version;
                    li {
                        a href={ "/q/" (query.slug) "?version=" (version.version) } aria-current=[is_shown.then_some("true")] {
                            span class="name" { (version.version) }
                            span class="share" { (version.role) }
                            span class="number" { (version.made_at) }
                        }
                    }
                }
            }
        }
    }
}

fn schedule_form(query: &Query, person: &Session) -> Markup {
    let cron = query.cron.as_deref().unwrap_or_default();
    let is_own_rhythm = schedule::OFFERED.iter().all(|(every, _)| *every != cron);
    html! {
        section class="card" aria-labelledby="schedule" {
            h2 #schedule { "Schedule" }
            p class="quiet" { "It runs with your role, also while you are away. The newest result is shown here." }
            form method="post" action={ "/q/" (query.slug) "/schedule" } class="row" {
                (csrf(person))
                label class="hidden-visually" for="every" { "How often" }
                select #every name="every" {
                    @for (every, name) in schedule::OFFERED { option value=(every) selected[every == cron] { (name) } }
                    @if is_own_rhythm { option value=(cron) selected { (cron) } }
                }
                button { "Set" }
            }
            @if let Some(error) = &query.schedule_error { p { (badge(Tone::Bad, "failed")) " " (error) } }
            @if let Some(next) = &query.next_run_at { p class="quiet small" { "Next: " (time(next)) } }
        }
    }
}

fn spreadsheets(console: &Console, query: &Query, person: &Session, headers: &HeaderMap) -> Markup {
    let taken_back =
        Ask { question: "Take the link back? Spreadsheets that use it get nothing any more.", yes: "Take it back" };
    html! {
        section class="card" aria-labelledby="spreadsheets" {
            h2 #spreadsheets { "For spreadsheets" }
            p class="quiet" { "A link to the newest result of your runs as CSV. Whoever has it can read that, and nothing else." }
            @match &query.link_key {
                Some(key) => {
                    (copyable("import", &format!("=IMPORTDATA(\"{}/linked/q/{}.csv?key={key}\")", links::base(console, headers), query.slug)))
                    (post(person, &format!("/q/{}/link/remove", query.slug), &[], "Take it back", Some(taken_back)))
                }
                None => (post(person, &format!("/q/{}/link", query.slug), &[], "Make a link", None)),
            }
        }
    }
}
