//! Names of tables and columns, as people write them in SQL without quotes: `AccountId` is `account_id`.

use sha2::{Digest, Sha256};

/// What PostgreSQL keeps of a name.
const NAME_BYTES_MAX: usize = 63;
/// There are fewer columns.
const NUMBERS_MAX: usize = 10_000;
/// Enough to tell long names apart.
const HASH_CHARS: usize = 8;

/// The name in lower case, words by `_`. What is no ASCII letter, digit or `_` becomes `_`, but for letters of other
/// alphabets. `is_taken` tells of names that something else has.
pub fn name(original: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let base = shortened(&snake(original), original);
    if !is_taken(&base) {
        return base;
    }
    let numbered = |number: usize| {
        let suffix = format!("_{number}");
        let mut cut = base.clone();
        while cut.len() + suffix.len() > NAME_BYTES_MAX {
            cut.pop();
        }
        cut + &suffix
    };
    (2..NUMBERS_MAX).map(numbered).find(|name| !is_taken(name)).unwrap_or(base)
}

fn snake(original: &str) -> String {
    let characters: Vec<char> = original.chars().collect();
    let mut name = String::with_capacity(original.len() + 4);
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() && character != '_' {
            name.push('_');
            continue;
        }
        if character.is_uppercase() && at > 0 {
            let before = characters[at - 1];
            let ends_acronym =
                before.is_uppercase() && characters.get(at + 1).is_some_and(|after| after.is_lowercase());
            if before.is_lowercase() || before.is_numeric() || ends_acronym {
                name.push('_');
            }
        }
        name.extend(character.to_lowercase());
    }
    if name.is_empty() {
        name.push('_');
    }
    name
}

fn shortened(name: &str, original: &str) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name.to_owned();
    }
    let hash: String = Sha256::digest(original.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut cut = NAME_BYTES_MAX - HASH_CHARS - 1;
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}_{}", &name[..cut], &hash[..HASH_CHARS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_in_sql() {
        for (original, expected) in [
            ("id", "id"),
            ("AccountId", "account_id"),
            ("createdAt", "created_at"),
            ("HTTPServerURL", "http_server_url"),
            ("Foo__c", "foo__c"),
            ("public-users", "public_users"),
            ("address.city", "address_city"),
            ("ISO3166Code", "iso3166_code"),
            ("_sdc_deleted_at", "_sdc_deleted_at"),
            ("Größe", "größe"),
            ("2fa", "2fa"),
            ("", "_"),
            ("a\"; drop table x", "a___drop_table_x"),
        ] {
            assert_eq!(name(original, |_| false), expected);
        }
    }

    #[test]
    fn names_differ_where_their_originals_do() {
        assert_eq!(name("ID", |name| name == "id"), "id_2");
        assert_eq!(name("ID", |name| ["id", "id_2"].contains(&name)), "id_3");
        let (one, other) = ("ä".repeat(100), format!("{}b", "ä".repeat(99)));
        let names = [name(&one, |_| false), name(&other, |_| false)];
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX), "{names:?}");
        let taken = "x".repeat(63);
        assert_eq!(name(&taken, |name| name == taken), format!("{}_2", "x".repeat(61)));
    }
}
