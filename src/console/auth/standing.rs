//! What a role is to weir.

use std::sync::Arc;

use super::session::Session;
use crate::analyst;
use crate::console::Console;
use crate::console::error::ConsoleError;
use crate::database::login::LoginError;

/// Whether the session's person may still be here, asked anew now and then. A database that is away changes nothing.
pub async fn recheck(console: &Console, session: &Arc<Session>) -> Result<(), ConsoleError> {
    if session.needs_check() {
        let Ok(client) = console.database.client().await else { return Ok(()) };
        let Ok(standing) = analyst::standing(&client, &session.role).await else { return Ok(()) };
        if !standing.is_analyst {
            console.sessions.end_all(&session.role);
            return Err(ConsoleError::SignedOut);
        }
        session.checked(standing.is_operator);
    }
    if session.takes_proof(console.proof_age_max) {
        match console.logins.connect(&session.role, &session.password).await {
            Ok(login) => login.close().await,
            Err(LoginError::Refused) => {
                console.sessions.end(session);
                return Err(ConsoleError::SignedOut);
            }
            // Nothing is known of the password.
            Err(_) => {}
        }
    }
    Ok(())
}
