//! What a person needs to log in, as one line.

use url::Url;

use crate::database::text::quoted;

/// The URL of weir's own connection, as somebody else's. Where it is none, as with `host=... dbname=...`, only what is to be
/// changed in it.
pub fn url(own: &str, name: &str, password: &str) -> String {
    let changed = Url::parse(own).ok().and_then(|mut url| {
        url.set_username(name).ok()?;
        url.set_password(Some(password)).ok()?;
        Some(url.to_string())
    });
    // Libraries read the words of a connection's text so, too; passwords that are made here need no quotes.
    changed.unwrap_or_else(|| format!("user={} password={password}", quoted(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_else_logs_in_at_the_same_place() {
        let own = "postgres://weir:secret@db.example:5433/shop?sslmode=require";
        assert_eq!(url(own, "alice", "pw"), "postgres://alice:pw@db.example:5433/shop?sslmode=require");
        assert_eq!(url("host=/tmp dbname=shop", "alice", "pw"), "user=\"alice\" password=pw");
    }
}
