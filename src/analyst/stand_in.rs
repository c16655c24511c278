//! The login that a person's scheduled queries use while they are away.
//!
//! Nobody knows a person's password but they themselves. So there is a second role, a member of the person's and of nothing
//! else, whose sessions begin as the person: `RESET ROLE` leads back to the person, and `SET ROLE NONE` to a role that may
//! do just the same. Its password is made here and lies in `weir.stand_ins`, which only weir's role reads; and that is a
//! member of each person's role anyway. As that role a person's query can set its password, and they know it then: so what
//! ends a person's login, and their sessions, ends this one's.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::hands::Hands;
use super::{AnalystError, grant, names, password};
use crate::database::DatabaseError;
use crate::database::text::{literal, quoted};

/// Whether the role of that name may more than who stands in for the person.
const STRANGER: &str = include_str!("sql/stand_in_stranger.sql");

/// A role and its password.
#[derive(Debug)]
pub struct StandIn {
    pub role: String,
    pub password: String,
}

/// Who stands in for `person`, if there is somebody.
pub async fn of(client: &Client, person: &str) -> Result<Option<StandIn>, DatabaseError> {
    let sql = "select s.role, s.password from weir.stand_ins s join pg_catalog.pg_roles r on r.rolname = s.role
                where s.person = $1 and r.rolcanlogin";
    let rows = client.query_typed(sql, &[(&person, Type::TEXT)]).await?;
    let stand_in = |row: &tokio_postgres::Row| {
        Ok::<_, tokio_postgres::Error>(StandIn { role: row.try_get(0)?, password: row.try_get(1)? })
    };
    Ok(rows.first().map(stand_in).transpose()?)
}

/// Makes who stands in for `person`, or gives them a new password; returns the role.
pub(super) async fn make(hands: &Hands<'_>, person: &str) -> Result<String, AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    let password = password::generate()?;
    let what = format!("make {role}, who runs {person}'s scheduled queries");
    let verb = if hands.has_role(&role).await? { "alter" } else { "create" };
    if hands.is(STRANGER, &[(&role, Type::TEXT), (&person, Type::TEXT)]).await? {
        return Err(AnalystError::TakenStandIn { name: role, person: person.to_owned() });
    }
    let (quoted_role, database) = (quoted(&role), quoted(&hands.facts.database));
    let sql = format!(
        "{verb} role {quoted_role} login password {};
         alter role {quoted_role} in database {database} set role = {}",
        password::verifier(&password),
        literal(person)
    );
    hands.role(&what, &sql).await?;
    grant::act_as(hands, person, &role).await?;
    grant::look_after(hands, &role).await?;
    hands.own(&what, &format!("delete from weir.stand_ins where person = {}", literal(person))).await?;
    hands.copy("copy weir.stand_ins (person, role, password) from stdin", &[person, &role, &password]).await?;
    Ok(role)
}

/// Lets them log in no longer; returns the role, which may not be there.
pub(super) async fn disable(hands: &Hands<'_>, person: &str) -> Result<String, AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    if hands.has_role(&role).await? {
        hands.role(&format!("set {role} to nologin"), &format!("alter role {} nologin", quoted(&role))).await?;
    }
    Ok(role)
}

/// Gives them another password, and the login back, where there is such a role; returns it.
pub(super) async fn renew(hands: &Hands<'_>, person: &str) -> Result<String, AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    if hands.has_role(&role).await? { make(hands, person).await } else { Ok(role) }
}

/// What the stand-in has made is the person's: it went to the one as whom it did not act.
pub(super) async fn give_back(hands: &Hands<'_>, person: &str) -> Result<(), AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    if !hands.has_role(&role).await? {
        return Ok(());
    }
    let sql = format!("reassign owned by {} to {}", quoted(&role), quoted(person));
    hands.own(&format!("give {person} what {role} has"), &sql).await
}

/// Forgets the password; the role goes by [`drop_role`], once what weir has done is committed.
pub(super) async fn forget(hands: &Hands<'_>, person: &str) -> Result<(), AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    if !hands.has_role(&role).await? {
        return Ok(());
    }
    let sql = format!(
        "drop owned by {} cascade; delete from weir.stand_ins where person = {}",
        quoted(&role),
        literal(person)
    );
    hands.own(&format!("drop what {role} has"), &sql).await
}

pub(super) async fn drop_role(hands: &Hands<'_>, person: &str) -> Result<(), AnalystError> {
    let role = names::stand_in(&hands.facts.database, person);
    hands.role(&format!("drop the role {role}"), &format!("drop role if exists {}", quoted(&role))).await
}
