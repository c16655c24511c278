//! The test's own database and its owner, a role that is nothing more.

use anyhow::Context;
use tokio_postgres::{Client, NoTls};
use url::Url;

use crate::machine;

/// A database that [`drop`] removes again.
pub struct Database {
    superuser: Client,
    /// As its owner.
    pub url: String,
    pub server_version: String,
    /// The process that all of the server's others descend from.
    pub server_pid: u32,
}

impl Database {
    pub async fn create(superuser_url: &str) -> anyhow::Result<Self> {
        let superuser = connect(superuser_url).await?;
        let name = format!("weir_loadtest_{}", std::process::id());
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let password = format!("{:032x}", u128::from_ne_bytes(random));
        let mut url = Url::parse(superuser_url).context("the superuser's URL")?;
        let unfit = |()| anyhow::anyhow!("the superuser's URL has no host");
        url.set_username(&name).map_err(unfit)?;
        url.set_password(Some(&password)).map_err(unfit)?;
        url.set_path(&name);
        superuser.batch_execute(&format!("create role {name} login password '{password}'")).await?;
        let own_pid: i32 = superuser.query_one("select pg_backend_pid()", &[]).await?.try_get(0)?;
        let database = Self {
            server_pid: machine::parent_of(own_pid.cast_unsigned())
                .context("the PostgreSQL server must run on this machine")?,
            server_version: superuser.query_one("show server_version", &[]).await?.try_get(0)?,
            superuser,
            url: url.into(),
        };
        let created = database.superuser.batch_execute(&format!("create database {name} owner {name}")).await;
        if let Err(error) = created {
            drop(superuser_url, &database.url).await?;
            return Err(error.into());
        }
        Ok(database)
    }

    /// As weir connects to it.
    pub fn weir(&self) -> anyhow::Result<weir::database::Database> {
        let settings = weir::config::Database { url: self.url.clone(), ..weir::config::Database::default() };
        Ok(weir::database::Database::new(&settings, 1)?)
    }

    /// A connection as the owner.
    pub async fn client(&self) -> anyhow::Result<Client> {
        connect(&self.url).await
    }

    /// Cuts everyone off and lets nobody in, until [`Self::open`].
    pub async fn shut(&self) -> anyhow::Result<()> {
        let name = self.allow_connections(false).await?;
        let kick = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        self.superuser.query(kick, &[&name]).await?;
        Ok(())
    }

    pub async fn open(&self) -> anyhow::Result<()> {
        self.allow_connections(true).await?;
        Ok(())
    }

    /// The database's name.
    async fn allow_connections(&self, allowed: bool) -> anyhow::Result<String> {
        let name = Url::parse(&self.url)?.username().to_owned();
        self.superuser.batch_execute(&format!("alter database {name} allow_connections {allowed}")).await?;
        Ok(name)
    }

    /// Gives each phase the same start: no rows, and a checkpoint just done.
    pub async fn clean(&self, table: &str) -> anyhow::Result<()> {
        let truncate = format!("truncate {table}");
        self.client().await?.batch_execute(&truncate).await?;
        Ok(self.superuser.batch_execute("checkpoint").await?)
    }
}

impl Database {
    /// Does what PostgreSQL and the kernel would do later about rows just written: vacuum, checkpoint, write them out.
    pub async fn settle(&self, table: &str) -> anyhow::Result<()> {
        self.client().await?.batch_execute(&format!("vacuum (analyze) {table}")).await?;
        self.superuser.batch_execute("checkpoint").await?;
        rustix::fs::sync();
        Ok(())
    }
}

/// Removes the database of `url` and its owner, whoever is connected.
pub async fn drop(superuser_url: &str, url: &str) -> anyhow::Result<()> {
    let url = Url::parse(url)?;
    let name = url.username();
    let superuser = connect(superuser_url).await?;
    for statement in [format!("drop database if exists {name} with (force)"), format!("drop role if exists {name}")] {
        superuser.batch_execute(&statement).await?;
    }
    Ok(())
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connect to PostgreSQL")?;
    // Its error reaches whoever uses the client.
    tokio::spawn(connection);
    Ok(client)
}
