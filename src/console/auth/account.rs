//! A person's own page: the password, and where else they are signed in.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::guard::{Address, Person, Signed};
use super::session::Session;
use super::sign_in::Empty;
use crate::analyst;
use crate::console::audit::{self, Action};
use crate::console::error::ConsoleError;
use crate::console::{Console, page};

pub async fn show(State(console): State<Arc<Console>>, Person(session): Person) -> Response {
    let others = console.sessions.of(&session.role);
    page::account(&session, &others, None)
}

#[derive(Deserialize)]
pub struct Passwords {
    current: String,
    new: String,
    again: String,
}

/// Takes a new password; everybody who is signed in with the old one signs in again.
pub async fn change_password(
    State(console): State<Arc<Console>>,
    Person(session): Person,
    Address(ip): Address,
    Signed(given): Signed<Passwords>,
) -> Result<Response, ConsoleError> {
    match change(&console, &session, ip, &given).await {
        Ok(()) => {
            console.sessions.end_all(&session.role);
            audit::note(&console, &session.role, Some(ip), Action::ChangePassword, "").await;
            Ok(Redirect::to("/sign-in").into_response())
        }
        Err(error @ (ConsoleError::BadRequest(_) | ConsoleError::Forbidden(_))) => {
            Ok(page::account(&session, &console.sessions.of(&session.role), Some(&error.to_string())))
        }
        Err(error) => Err(error),
    }
}

async fn change(
    console: &Console,
    session: &Session,
    ip: std::net::IpAddr,
    given: &Passwords,
) -> Result<(), ConsoleError> {
    console.throttle.attempt(&session.role, ip).map_err(ConsoleError::TooOften)?;
    if given.current != session.password {
        return Err(ConsoleError::Forbidden("the current password is another one".to_owned()));
    }
    console.throttle.forgive(&session.role, ip);
    if given.new != given.again {
        return Err(ConsoleError::BadRequest("the two new passwords differ".to_owned()));
    }
    let login = console.logins.connect(&session.role, &session.password).await?;
    analyst::set_password(&login.client, &given.new).await?;
    login.close().await;
    Ok(())
}

#[derive(Deserialize)]
pub struct Which {
    #[serde(default)]
    session: String,
}

/// Ends one of a person's sessions.
pub async fn end_one(
    State(console): State<Arc<Console>>,
    Person(session): Person,
    Signed(which): Signed<Which>,
) -> Redirect {
    for other in console.sessions.of(&session.role) {
        if other.label() == which.session {
            console.sessions.end(&other);
        }
    }
    Redirect::to("/account")
}

/// Ends a person's sessions on other devices.
pub async fn end_others(
    State(console): State<Arc<Console>>,
    Person(session): Person,
    Signed(_): Signed<Empty>,
) -> Redirect {
    console.sessions.end_others(&session);
    Redirect::to("/account")
}
