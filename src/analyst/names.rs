//! Names of people, and of the groups that go with a database.

use sha2::{Digest, Sha256};

use super::AnalystError;

/// PostgreSQL cuts longer ones, unasked.
const NAME_BYTES_MAX: usize = 63;
/// Of the hash that keeps cut names apart: one in four billion is met by chance.
const HASH_BYTES: usize = 4;

/// Everybody who reads here.
pub fn analysts(database: &str) -> String {
    fit(format!("{database}_analysts"))
}

/// Who may operate the console.
pub fn operators(database: &str) -> String {
    fit(format!("{database}_operators"))
}

/// Who reads a synced schema.
pub fn readers(database: &str, schema: &str) -> String {
    fit(format!("{database}_read_{schema}"))
}

/// Who runs a person's scheduled queries.
pub fn stand_in(database: &str, person: &str) -> String {
    fit(format!("{database}_for_{person}"))
}

fn fit(name: String) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let hash: String = digest.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let mut end = NAME_BYTES_MAX - hash.len() - 1;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash}", &name[..end])
}

/// Refuses what is no person's name: it has to be the same with and without quotes.
pub fn check(name: &str) -> Result<(), AnalystError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_fit = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.starts_with("pg_")
        // PostgreSQL reads these as something else, wherever a role is named.
        && !["public", "none", "current_user", "current_role", "session_user", "user"].contains(&name);
    if is_fit { Ok(()) } else { Err(AnalystError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_apart() {
        assert_eq!(analysts("shop"), "shop_analysts");
        assert_eq!(readers("shop", "stripe"), "shop_read_stripe");
        let long = "x".repeat(60);
        assert_eq!(readers(&long, "a").len(), NAME_BYTES_MAX);
        assert_ne!(readers(&long, "a"), readers(&long, "b"));
        assert_ne!(analysts(&long), operators(&long));
        assert!(analysts(&"é".repeat(31)).len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn persons_are_named_plainly() {
        for good in ["alice", "_a", "a1", "founder"] {
            check(good).unwrap_or_else(|error| panic!("{error}"));
        }
        let long = "x".repeat(64);
        for bad in ["", "Alice", "1a", "a-b", "a b", "a\"b", "pg_alice", "public", "none", "é", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
