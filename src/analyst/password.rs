//! Passwords: made here, and sent to the server only as what it needs to check them.
//!
//! The server's log may hold statements, and so does whatever reads `pg_stat_activity`: a SCRAM verifier there opens nothing.

use tokio_postgres::Client;

use super::AnalystError;
use crate::database::text::literal;
use crate::entropy::{SystemEntropy, secret};

const RANDOM_BYTES: usize = 18;
/// What a person chooses: shorter ones are guessed.
const CHARS_MIN: usize = 12;
const BYTES_MAX: usize = 500;

/// One that nobody guesses.
pub fn generate() -> Result<String, AnalystError> {
    Ok(secret::<RANDOM_BYTES>(&SystemEntropy)?)
}

/// Refuses what a person should not choose.
pub fn check(password: &str) -> Result<(), AnalystError> {
    let reason = if password.chars().count() < CHARS_MIN {
        "it has to have at least 12 characters"
    } else if password.len() > BYTES_MAX {
        "it is longer than 500 bytes"
    } else if password.chars().any(char::is_control) {
        "it holds a control character, as an end of a line"
    } else {
        return Ok(());
    };
    Err(AnalystError::BadPassword(reason))
}

/// What the server keeps of it, as a quoted text.
pub(crate) fn verifier(password: &str) -> String {
    literal(&postgres_protocol::password::scram_sha_256(password.as_bytes()))
}

/// Gives the person whose connection this is another password.
pub async fn set_password(client: &Client, password: &str) -> Result<(), AnalystError> {
    check(password)?;
    Ok(client.batch_execute(&format!("alter role current_user password {}", verifier(password))).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_no_two_are_equal() {
        let (one, other) = (generate().expect("random"), generate().expect("random"));
        assert_eq!(one.len(), 24);
        assert_ne!(one, other);
        check(&one).expect("good enough");
        for bad in ["", "short", "eleven chars", "two\nlines of it"] {
            assert_eq!(check(bad).is_ok(), bad.len() == 12 && !bad.contains('\n'), "{bad}");
        }
        let verifier = verifier(&one);
        assert!(verifier.starts_with("'SCRAM-SHA-256$4096:") && !verifier.contains(&one), "{verifier}");
    }
}
