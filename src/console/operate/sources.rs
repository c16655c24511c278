//! Who may send: sources, their keys, and whether their events arrive.
//!
//! A new key is in the answer to the form that asked for it, and nowhere else: in no address, no cache, no log.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::{Tab, Told, page};
use crate::console::Console;
use crate::console::audit::{self, Action};
use crate::console::auth::guard::{Address, Operator, Person, Signed};
use crate::console::auth::session::Session;
use crate::console::error::ConsoleError;
use crate::console::page::parts::{Ask, Tone, copyable, csrf, empty, post};
use crate::sources::{self, KeyKind, Listed, SourceError};

/// Companies have some tens.
pub const SOURCES_SHOWN: usize = 500;
/// Of a new source.
const ORIGINS_MAX: usize = 20;
/// Old keys work on for a day, unless somebody says otherwise.
const GRACE_S: u32 = 86_400;
/// A month: whoever needs longer adds a source.
const GRACE_S_MAX: u32 = 31 * 86_400;
/// Where nobody knows the collector's address.
const COLLECTOR: &str = "https://YOUR-COLLECTOR";

/// Whose key is to be made anew.
#[derive(Deserialize)]
pub struct Chosen {
    #[serde(default)]
    source: String,
}

/// `GET /operate/sources`.
pub async fn show(
    State(console): State<Arc<Console>>,
    Person(person): Person,
    Query(chosen): Query<Chosen>,
) -> Result<Response, ConsoleError> {
    list(&console, &person, &chosen.source, &None).await
}

async fn list(console: &Console, person: &Session, chosen: &str, told: &Told) -> Result<Response, ConsoleError> {
    let listed = sources::list(&console.database).await?;
    let is_operator = person.is_operator();
    let main = html! {
        @if listed.is_empty() { (none()) } @else { (card(&listed, person)) }
        @if is_operator { (add_form(person)) }
        @if is_operator && !listed.is_empty() { (rotate_form(&listed, chosen, person)) }
    };
    Ok(page(Tab::Sources, person, told, &main))
}

fn none() -> Markup {
    empty(
        "No source yet",
        &html! {
            p { "A source is a site, an app or a server that sends events, with keys of its own. An operator adds the first one here, or where weir runs:" }
            (copyable("command", "weir source add shop --origin https://shop.example"))
        },
    )
}

/// As [`table`](crate::console::page::parts::table), with rows that scripts find by their source.
fn card(listed: &[Listed], person: &Session) -> Markup {
    html! {
        section class="card flush" {
            div class="card-head" {
                h2 { "Sources and keys" }
                @if person.is_operator() {
                    p class="quiet small" { "of keys only their hashes are kept, and their beginnings shown" }
                }
            }
            div class="scroll" tabindex="0" role="region" aria-label="Sources and keys" {
                table #sources class="data" {
                    thead { tr {
                        @for name in ["Source", "Keys", "Is it arriving?", "Last event, UTC"] { th scope="col" { (name) } }
                        th scope="col" class="actions" { span class="hidden-visually" { "Actions" } }
                    } }
                    tbody { @for source in listed.iter().take(SOURCES_SHOWN) { (line(source, person)) } }
                }
            }
        }
    }
}

fn line(listed: &Listed, person: &Session) -> Markup {
    let Listed { source, origins, disabled, keys } = listed;
    let question = format!("Disable {source}? What it sends is refused with 401 within five seconds.");
    html! {
        tr data-source=(source) {
            td {
                strong { (source) }
                p class="quiet" { @if origins.is_empty() { "any origin" } @else { (origins.join(" ")) } }
            }
            td {
                @if keys.is_empty() { span class="quiet" { "none in force" } }
                @else if person.is_operator() { @for key in keys { p { code { (key) } } } }
                @else { (kinds(keys)) }
            }
            td {
                span class="badge" data-arriving { @if *disabled { "disabled" } @else { "…" } } " "
                span class="quiet" data-rate {}
            }
            td { span data-last {} }
            td class="actions" {
                @if person.is_operator() {
                    a class="button tiny" href={ "/operate/sources?source=" (source) "#rotate" } { "New key" } " "
                    @if *disabled {
                        (post(person, "/operate/sources/enable", &[("source", source)], "Enable", None))
                    } @else {
                        (post(person, "/operate/sources/disable", &[("source", source)], "Disable",
                            Some(Ask { question: &question, yes: "Disable it" })))
                    }
                }
            }
        }
    }
}

/// Of each key the first word: an alias is as good as a key.
fn kinds(keys: &[String]) -> String {
    let kinds: BTreeSet<&str> = keys.iter().filter_map(|key| key.split(' ').next()).collect();
    kinds.into_iter().collect::<Vec<_>>().join(", ")
}

fn add_form(person: &Session) -> Markup {
    html! {
        section class="card" aria-labelledby="add" {
            h2 #add { "Add a source" }
            p class="quiet" { "It gets a public key, for pages, and a secret one, for servers. Browsers send from the origins named here; from any, if there is none." }
            form method="post" action="/operate/sources" class="row" {
                (csrf(person))
                div class="pair" {
                    label for="name" { "Name" }
                    input #name name="name" maxlength="63" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" required placeholder="shop" autocomplete="off";
                }
                div class="pair" {
                    label for="origins" { "Origins" }
                    input #origins name="origins" maxlength="2000" placeholder="https://shop.example" autocomplete="off";
                }
                button class="primary" { "Add" }
            }
        }
    }
}

fn rotate_form(listed: &[Listed], chosen: &str, person: &Session) -> Markup {
    html! {
        section class="card" aria-labelledby="rotate" {
            h2 #rotate { "Make a new key" }
            p class="quiet" { "The old ones of its kind stop after the time given here, so that pages and servers can be changed meanwhile; 0 stops them at once." }
            form method="post" action="/operate/sources/rotate" class="row" {
                (csrf(person))
                div class="pair" {
                    label for="rotate-source" { "Source" }
                    select #rotate-source name="source" required {
                        @for Listed { source, .. } in listed.iter().take(SOURCES_SHOWN) {
                            option value=(source) selected[source == chosen] { (source) }
                        }
                    }
                }
                div class="pair" {
                    label for="rotate-kind" { "For" }
                    select #rotate-kind name="kind" {
                        option value="public" { "pages (public)" }
                        option value="secret" { "servers (secret)" }
                    }
                }
                div class="pair" {
                    label for="grace" { "Seconds that old ones work on" }
                    input #grace name="grace" type="number" min="0" max=(GRACE_S_MAX) value=(GRACE_S) required;
                }
                button data-confirm="Make a new key? The old ones of this kind stop after the time given." data-confirm-action="Make it" {
                    "Make a new key"
                }
            }
        }
    }
}

/// A new key, as it is shown once.
fn shown(console: &Console, heading: &Markup, keys: &[(KeyKind, &str)]) -> Markup {
    let collector = console.first_source.as_ref().map_or(COLLECTOR, |first| first.collector.as_str());
    html! {
        p { strong { (heading) } " weir keeps nothing of it but a hash. Running collectors take it within 5 seconds." }
        @for (kind, key) in keys {
            @match kind {
                KeyKind::Public => {
                    p { "The public key, and the tag for pages:" }
                    (copyable("new-public-key", key))
                    (copyable("new-tag", &format!(
                        r#"<script defer src="{collector}{}" data-key="{key}"></script>"#, console.operating.script_path)))
                }
                KeyKind::Secret => {
                    p { "The secret key, and an event by hand:" }
                    (copyable("new-secret-key", key))
                    (copyable("new-curl", &format!(
                        "curl {collector}/v1/events -H 'authorization: Bearer {key}' \\\n  -H 'content-type: application/json' -d '{{\"name\":\"hello\"}}'")))
                }
            }
        }
    }
}

fn refused(error: SourceError) -> Result<(Tone, Markup), ConsoleError> {
    match error {
        error @ SourceError::Database(_) => Err(error.into()),
        error => Ok((Tone::Bad, html! { p { (error) } })),
    }
}

/// A new source.
#[derive(Deserialize)]
pub struct New {
    name: String,
    #[serde(default)]
    origins: String,
}

/// `POST /operate/sources`.
pub async fn add(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(new): Signed<New>,
) -> Result<Response, ConsoleError> {
    let name = new.name.trim();
    let is_between = |character: char| character.is_whitespace() || character == ',';
    let origins: Vec<String> =
        new.origins.split(is_between).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
    if origins.len() > ORIGINS_MAX {
        return Err(ConsoleError::BadRequest(format!("{} origins; {ORIGINS_MAX} at most", origins.len())));
    }
    let told = match sources::add(&console.database, name, &origins).await {
        Ok(keys) => {
            audit::note(&console, &person.role, Some(ip), Action::ChangeSource, &format!("added {name}")).await;
            let heading = html! { "The keys of " code { (name) } " are shown only here and now: copy them." };
            let keys = [(KeyKind::Public, keys.public_key.as_str()), (KeyKind::Secret, keys.secret_key.as_str())];
            (Tone::Good, shown(&console, &heading, &keys))
        }
        Err(error) => refused(error)?,
    };
    list(&console, &person, name, &Some(told)).await
}

/// Whose key, and how long the old ones work on.
#[derive(Deserialize)]
pub struct Rotate {
    source: String,
    kind: String,
    /// Seconds.
    grace: u32,
}

/// `POST /operate/sources/rotate`.
pub async fn rotate(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(asked): Signed<Rotate>,
) -> Result<Response, ConsoleError> {
    let Rotate { source, grace, .. } = &asked;
    let kind = match asked.kind.as_str() {
        "public" => KeyKind::Public,
        "secret" => KeyKind::Secret,
        other => return Err(ConsoleError::BadRequest(format!("{other:?} is no kind of key"))),
    };
    if *grace > GRACE_S_MAX {
        return Err(ConsoleError::BadRequest(format!("{grace} seconds; {GRACE_S_MAX} at most")));
    }
    let told = match sources::rotate(&console.database, source, kind, *grace).await {
        Ok(key) => {
            let detail = format!("new {} key of {source}, old ones for {grace} s", kind.name());
            audit::note(&console, &person.role, Some(ip), Action::ChangeSource, &detail).await;
            let heading =
                html! { "The new " (kind.name()) " key of " code { (source) } " is shown only here and now: copy it." };
            (Tone::Good, shown(&console, &heading, &[(kind, &key)]))
        }
        Err(error) => refused(error)?,
    };
    list(&console, &person, source, &Some(told)).await
}

/// `POST /operate/sources/disable`.
pub async fn disable(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(chosen): Signed<Chosen>,
) -> Result<Response, ConsoleError> {
    set_disabled(&console, &person, ip, &chosen.source, true).await
}

/// `POST /operate/sources/enable`.
pub async fn enable(
    State(console): State<Arc<Console>>,
    Operator(person): Operator,
    Address(ip): Address,
    Signed(chosen): Signed<Chosen>,
) -> Result<Response, ConsoleError> {
    set_disabled(&console, &person, ip, &chosen.source, false).await
}

async fn set_disabled(
    console: &Console,
    person: &Session,
    ip: std::net::IpAddr,
    source: &str,
    is_disabled: bool,
) -> Result<Response, ConsoleError> {
    let told = match sources::set_disabled(&console.database, source, is_disabled).await {
        Ok(()) => {
            let (did, means) = if is_disabled {
                ("disabled", "is disabled: what it sends is refused within 5 seconds")
            } else {
                ("enabled", "is enabled: it is taken again within 5 seconds")
            };
            audit::note(console, &person.role, Some(ip), Action::ChangeSource, &format!("{did} {source}")).await;
            (Tone::Good, html! { p { code { (source) } " " (means) "." } })
        }
        Err(error) => refused(error)?,
    };
    list(console, person, "", &Some(told)).await
}
