//! Who did what. Kept for a year.

use std::net::IpAddr;

use tokio_postgres::types::Type;

use super::Console;

/// What people did that others may want to know of.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    SignIn,
    SignInRefused,
    SignOut,
    ChangePassword,
    ShareResult,
    HideResult,
    MakeLink,
    RemoveLink,
    SaveQuery,
    DeleteQuery,
    Schedule,
    Download,
    ShareDashboard,
    ReplayQuarantine,
    ChangeSource,
    RunRollup,
    RunSync,
    EndSessions,
}

impl Action {
    /// Each, in the order in which one looks for it.
    pub const ALL: [Self; 18] = [
        Self::SignIn,
        Self::SignInRefused,
        Self::SignOut,
        Self::ChangePassword,
        Self::EndSessions,
        Self::ShareResult,
        Self::HideResult,
        Self::MakeLink,
        Self::RemoveLink,
        Self::ShareDashboard,
        Self::Download,
        Self::SaveQuery,
        Self::DeleteQuery,
        Self::Schedule,
        Self::ChangeSource,
        Self::ReplayQuarantine,
        Self::RunRollup,
        Self::RunSync,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SignIn => "signed in",
            Self::SignInRefused => "was refused",
            Self::SignOut => "signed out",
            Self::ChangePassword => "changed the password",
            Self::ShareResult => "shared a result",
            Self::HideResult => "hid a result",
            Self::MakeLink => "made a secret link",
            Self::RemoveLink => "removed a secret link",
            Self::SaveQuery => "saved a query",
            Self::DeleteQuery => "deleted a query",
            Self::Schedule => "changed a schedule",
            Self::Download => "downloaded a result",
            Self::ShareDashboard => "shared a dashboard",
            Self::ReplayQuarantine => "replayed quarantine",
            Self::ChangeSource => "changed a source",
            Self::RunRollup => "ran a rollup",
            Self::RunSync => "ran a sync",
            Self::EndSessions => "ended sessions",
        }
    }
}

/// Writes it down. What was done has happened: where that fails, the log has it.
pub async fn note(console: &Console, role: &str, ip: Option<IpAddr>, action: Action, detail: &str) {
    let name = action.name();
    tracing::info!(role, action = name, detail, "console");
    let sql = "insert into console.audit (role, address, action, detail) values ($1, $2::text::inet, $3, $4)";
    let address = ip.map(|ip| ip.to_canonical().to_string());
    let written = async {
        let client = console.database.client().await?;
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
            [(&role, Type::TEXT), (&address, Type::TEXT), (&name, Type::TEXT), (&detail, Type::TEXT)];
        client.execute_typed(sql, &parameters).await?;
        Ok::<_, crate::database::DatabaseError>(())
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, role, action = name, "this is not in console.audit");
    }
}
