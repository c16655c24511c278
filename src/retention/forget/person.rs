//! All ids of one person, as `analytics.person_events` follows them, and how their rows are told.

use std::collections::BTreeSet;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::{ToSql, Type};

use super::Request;
use crate::retention::{RetentionError, begin, listing};

const NAMED: &str = include_str!("../sql/forget_named.sql");
/// A person has some dozens. More are a test account or a mistake, and need another look before they are deleted.
const IDS_MAX: usize = 10_000;

/// By what a person is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A visitor id: all that was done with it, whoever was signed in.
    Visitor,
    /// A user id: theirs and that of every visitor they were, also before they signed up. What another user did on the same
    /// device is not theirs.
    User,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Visitor => "visitor",
            Self::User => "user",
        }
    }

    /// SQL that tells the rows of the person with the ids `$1`, of the source `$2` if there is one, in a table `event` with
    /// these columns. `None`: the table knows nothing of such a person.
    pub fn condition(self, visitors: bool, users: bool, sources: bool) -> Option<String> {
        let person = match (self, visitors, users) {
            (Self::User, true, true) => {
                "(event.user_id::text = any ($1) or event.user_id is null and event.visitor_id::text = any ($1))"
            }
            (Self::User, false, true) => "event.user_id::text = any ($1)",
            (_, true, _) => "event.visitor_id::text = any ($1)",
            (Self::Visitor, false, _) | (Self::User, false, false) => return None,
        };
        // The parameter is named in any case, for its type.
        let source = if sources { "($2::text is null or event.source = $2)" } else { "($2::text is null or true)" };
        Some(format!("{person} and {source}"))
    }

    /// Whether the event with these ids is the person's, as [`Self::condition`] tells it.
    pub fn is_meant(self, ids: &Ids, visitor: Option<&str>, user: Option<&str>) -> bool {
        match (self, user) {
            (Self::User, Some(user)) => ids.has(user),
            _ => visitor.is_some_and(|visitor| ids.has(visitor)),
        }
    }
}

/// The ids of one person: of visitors and users, which `analytics.person_events` does not tell apart either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids(BTreeSet<String>);

impl Ids {
    pub fn of(request: &Request) -> Self {
        Self(BTreeSet::from([request.id.clone()]))
    }

    pub fn with(mut self, more: Vec<String>) -> Self {
        self.0.extend(more);
        self
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn list(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

/// `known`, and every id that events name together with one of these.
pub async fn ids(client: &mut ClientWrapper, request: &Request, known: Ids) -> Result<Ids, RetentionError> {
    let mut ids = known;
    if request.kind == Kind::Visitor {
        return Ok(ids);
    }
    let mut asked: Vec<String> = ids.0.iter().cloned().collect();
    while !asked.is_empty() {
        let mut named = BTreeSet::new();
        for leaf in listing::leaves(client, false).await? {
            let transaction = begin(client).await?;
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&asked, Type::TEXT_ARRAY), (&request.source, Type::TEXT)];
            let sql = NAMED.replace("{table}", &leaf.name);
            for row in transaction.query_typed(&sql, &parameters).await? {
                named.insert(row.try_get::<_, String>("id")?);
            }
        }
        asked = named.difference(&ids.0).cloned().collect();
        ids.0.extend(named);
        if ids.len() > IDS_MAX {
            return Err(RetentionError::TooManyIds { ids: ids.len(), most: IDS_MAX });
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_user_did_on_the_same_device_is_not_theirs() {
        let request = Request { kind: Kind::User, id: "alice".to_owned(), source: None };
        let ids = Ids::of(&request).with(vec!["device".to_owned()]);
        for (kind, visitor, user, is_meant) in [
            (Kind::User, Some("device"), Some("alice"), true),
            (Kind::User, Some("other"), Some("alice"), true),
            (Kind::User, None, Some("alice"), true),
            (Kind::User, Some("device"), None, true),
            (Kind::User, Some("device"), Some("bob"), false),
            (Kind::User, Some("other"), None, false),
            (Kind::User, None, None, false),
            (Kind::Visitor, Some("device"), Some("bob"), true),
            (Kind::Visitor, Some("device"), None, true),
            (Kind::Visitor, None, Some("alice"), false),
        ] {
            assert_eq!(kind.is_meant(&ids, visitor, user), is_meant, "{kind:?} {visitor:?} {user:?}");
        }
    }

    #[test]
    fn a_table_is_asked_by_the_columns_that_it_has() {
        assert_eq!(Kind::Visitor.condition(false, true, true), None);
        assert_eq!(Kind::User.condition(false, false, true), None);
        let both = Kind::User.condition(true, true, true).expect("it is asked");
        assert!(both.contains("event.user_id is null and event.visitor_id"), "{both}");
        let visitors = Kind::User.condition(true, false, false).expect("it is asked");
        assert_eq!(visitors, "event.visitor_id::text = any ($1) and ($2::text is null or true)");
    }
}
