//! The login that a person's scheduled queries use while they are away.
//!
//! Nobody knows a person's password but they themselves. So there is a second role, a member of the person's and of nothing
//! else, whose sessions begin as the person: `RESET ROLE` leads back to the person, and `SET ROLE NONE` to a role that may
//! do just the same. Its password is made here and lies in `weir.stand_ins`, which only weir's role reads; and that is a
//! member of each person's role anyway.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::database::DatabaseError;

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
