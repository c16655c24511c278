//! Signing in: the password is PostgreSQL's to check.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::CookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use quick_cache::sync::Cache;
use serde::Deserialize;

use super::guard::{Address, COOKIE, Person, Signed};
use super::session::{Opening, secret};
use crate::analyst;
use crate::console::audit::{self, Action};
use crate::console::error::ConsoleError;
use crate::console::{Console, page};
use crate::database::login::LoginError;

/// Longer ones are no roles and no passwords.
const ROLE_BYTES_MAX: usize = 63;
const PASSWORD_BYTES_MAX: usize = 1_000;
/// What a person's own page shows of a browser.
const AGENT_CHARS_MAX: usize = 200;

/// How long it is believed that a server goes on asking a role for its password.
const ASKED_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Some hundred bytes each.
const ASKED_MAX: usize = 10_000;

/// Which roles PostgreSQL was seen to refuse with a wrong password, so that it need not be tried with each sign-in.
pub struct Asked(Cache<String, Instant>);

impl Default for Asked {
    fn default() -> Self {
        Self(Cache::new(ASKED_MAX))
    }
}

impl Asked {
    fn is_known(&self, role: &str) -> bool {
        self.0.get(role).is_some_and(|at| at.elapsed() < ASKED_AGE_MAX)
    }

    fn note(&self, role: &str) {
        self.0.insert(role.to_owned(), Instant::now());
    }
}

#[derive(Deserialize)]
pub struct AskedFor {
    #[serde(default)]
    next: String,
}

/// The form.
#[derive(Deserialize)]
pub struct Credentials {
    #[serde(default)]
    role: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// The page that asks.
pub async fn form(session: Option<Person>, Query(asked): Query<AskedFor>) -> Response {
    if session.is_some() {
        return Redirect::to(local(&asked.next)).into_response();
    }
    page::sign_in(StatusCode::OK, "", local(&asked.next), None)
}

/// Takes role and password.
pub async fn sign_in(
    State(console): State<Arc<Console>>,
    Address(ip): Address,
    headers: HeaderMap,
    jar: CookieJar,
    Form(given): Form<Credentials>,
) -> Response {
    let next = local(&given.next).to_owned();
    match open(&console, ip, &headers, &given).await {
        Ok(token) => {
            // Where the page came over TLS, the cookie goes nowhere else.
            let is_tls = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https:"));
            let cookie = Cookie::build((COOKIE, token))
                .path("/")
                .http_only(true)
                .same_site(SameSite::Strict)
                .secure(is_tls)
                .build();
            (jar.add(cookie), Redirect::to(&next)).into_response()
        }
        Err(error) => {
            let told = error.to_string();
            let status = error.into_response().status();
            page::sign_in(status, &given.role, &next, Some(&told))
        }
    }
}

async fn open(
    console: &Console,
    ip: std::net::IpAddr,
    headers: &HeaderMap,
    given: &Credentials,
) -> Result<String, ConsoleError> {
    let Credentials { role, password, .. } = given;
    let is_possible = !role.is_empty()
        && role.len() <= ROLE_BYTES_MAX
        && !password.is_empty()
        && password.len() <= PASSWORD_BYTES_MAX
        && !role.chars().any(char::is_control)
        // PostgreSQL would read no further.
        && !password.contains('\0');
    if !is_possible {
        return Err(LoginError::Refused.into());
    }
    console.throttle.attempt(role, ip).map_err(ConsoleError::TooOften)?;
    let standing = match check(console, role, password).await {
        Ok(standing) => standing,
        Err(error) => {
            if !matches!(error, ConsoleError::Login(LoginError::Refused) | ConsoleError::Forbidden(_)) {
                // The password was not what failed.
                console.throttle.forgive(role, ip);
            }
            audit::note(console, role, Some(ip), Action::SignInRefused, &error.to_string()).await;
            return Err(error);
        }
    };
    console.throttle.forgive(role, ip);
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let opening = Opening {
        role: role.clone(),
        password: password.clone(),
        is_operator: standing.is_operator,
        address: ip,
        agent: agent.chars().take(AGENT_CHARS_MAX).collect(),
    };
    let (token, _) = console.sessions.open(opening, console.entropy.as_ref())?;
    audit::note(console, role, Some(ip), Action::SignIn, "").await;
    Ok(token)
}

async fn check(console: &Console, role: &str, password: &str) -> Result<analyst::Standing, ConsoleError> {
    let standing = {
        let client = console.database.client().await?;
        analyst::standing(&client, role).await?
    };
    // For whoever is no analyst, too: how long the answer takes must not tell who is one.
    console.logins.connect(role, password).await?.close().await;
    if !standing.is_analyst {
        let reason = format!("{role} is not among the analysts: `weir analyst add` makes a role for the console");
        return Err(ConsoleError::Forbidden(reason));
    }
    if console.asked.is_known(role) {
        return Ok(standing);
    }
    // A server that asks nobody for a password (`trust` in pg_hba.conf) would let anyone in as anybody.
    let wrong = secret(console.entropy.as_ref())?;
    match console.logins.connect(role, &wrong).await {
        Err(LoginError::Refused) => {
            console.asked.note(role);
            Ok(standing)
        }
        Ok(_) => Err(ConsoleError::Forbidden(
            "this PostgreSQL lets people in without looking at the password: set scram-sha-256 in pg_hba.conf for connections \
             from weir"
                .to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Ends this session.
pub async fn sign_out(
    State(console): State<Arc<Console>>,
    Person(session): Person,
    Address(ip): Address,
    jar: CookieJar,
    Signed(_): Signed<Empty>,
) -> Response {
    console.sessions.end(&session);
    audit::note(&console, &session.role, Some(ip), Action::SignOut, "").await;
    let gone = Cookie::build((COOKIE, "")).path("/").build();
    (jar.remove(gone), Redirect::to("/sign-in")).into_response()
}

/// A form without fields.
#[derive(Deserialize)]
pub struct Empty {}

/// Where to go after signing in: a path of this console, so that nobody is sent elsewhere.
fn local(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && !next.starts_with("/\\")
        && next.bytes().all(|byte| byte.is_ascii_graphic());
    if is_local { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, expected) in [
            ("/r/abc?x=1", "/r/abc?x=1"),
            ("", "/"),
            ("https://evil.example", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\tevil", "/"),
            ("javascript:alert(1)", "/"),
        ] {
            assert_eq!(local(next), expected, "{next}");
        }
    }
}
