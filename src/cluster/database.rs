//! What the private server holds for weir: its role, its database, and the little more than a managed service would give.

use tokio_postgres::{Client, NoTls};

use super::{ClusterError, DATABASE, ROLE, SUPERUSER, Settings};

/// `grant set on parameter` is there from this version on, and `public` is closed.
const PARAMETERS_SINCE: i32 = 15;

/// A role that owns one database and nothing else, as a managed service would give it, but that it makes roles for people,
/// and sees and ends what they do.
pub(super) async fn make(settings: &Settings) -> Result<(), ClusterError> {
    let (client, connection) = connect(settings, "postgres").await?;
    let exists = |rows: Vec<tokio_postgres::Row>| !rows.is_empty();
    // The password holds no quote: see `secret`.
    let password = &settings.password;
    if !exists(client.query("select from pg_roles where rolname = $1", &[&ROLE]).await?) {
        client.batch_execute(&format!("create role {ROLE} login password '{password}'")).await?;
    }
    if !exists(client.query("select from pg_database where datname = $1", &[&DATABASE]).await?) {
        client.batch_execute(&format!("create database {DATABASE} owner {ROLE}")).await?;
    }
    // Also for clusters of earlier versions of weir.
    let more = format!("alter role {ROLE} createrole; grant pg_read_all_stats, pg_signal_backend to {ROLE}");
    client.batch_execute(&more).await?;
    drop(client);
    // It ends with its client.
    let _ = connection.await;

    let (client, connection) = connect(settings, DATABASE).await?;
    let major: i32 =
        client.query_one("select current_setting('server_version_num')::integer / 10000", &[]).await?.try_get(0)?;
    if major < PARAMETERS_SINCE {
        let close = format!("grant create on schema public to {ROLE}; revoke create on schema public from public");
        client.batch_execute(&close).await?;
    } else {
        client.batch_execute(&format!("grant set on parameter temp_file_limit to {ROLE}")).await?;
    }
    count_statements(&client).await?;
    drop(client);
    let _ = connection.await;
    Ok(())
}

/// Where the library is loaded. A server that an earlier weir left running has not loaded it.
async fn count_statements(client: &Client) -> Result<(), ClusterError> {
    let loaded = "select from pg_settings where name = 'pg_stat_statements.max'";
    if !client.query(loaded, &[]).await?.is_empty()
        && let Err(error) = client.batch_execute("create extension if not exists pg_stat_statements").await
    {
        tracing::warn!(%error, "people's statements are not counted");
    }
    Ok(())
}

async fn connect(settings: &Settings, database: &str) -> Result<(Client, tokio::task::JoinHandle<()>), ClusterError> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(settings.port)
        .user(SUPERUSER)
        .password(&settings.superuser_password)
        .dbname(database);
    let (client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(async move {
        // What goes wrong with it, its client hears.
        let _ = connection.await;
    });
    Ok((client, connection))
}
