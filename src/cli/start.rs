//! `weir up` and `weir serve`.

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use super::Listen;
use super::first_person::{Login, first_person};
use crate::cluster::{Cluster, Search};
use crate::config::{self, Config};
use crate::database::{Database, migrate};
use crate::demo::Demo;
use crate::disk::write_private;
use crate::run::{Listeners, Running, World};
use crate::sources::{self, KeyPair, SourceError};

/// The source that `weir up` makes.
const FIRST_SOURCE: &str = "web";
/// Its keys, in the data directory.
const KEYS_FILE: &str = "keys.json";
/// Files that are no connections: refusals, the journal's segments, the database, operators.
const OTHER_FILES: usize = 640;

/// What `--json` prints.
#[derive(Serialize)]
struct Ready<'a> {
    url: String,
    admin_url: String,
    database_url: &'a str,
    #[serde(flatten)]
    keys: KeyPair,
    /// Who may open the console, where that is known here.
    #[serde(flatten)]
    person: Option<Login>,
}

/// Starts with a private PostgreSQL, unless one is named.
pub async fn up(mut config: Config, data_dir: &Path, listen: &Listen, json: bool) -> anyhow::Result<()> {
    // Before anything is started: a second signal must always get through.
    let shutdown = shutdown()?;
    check(&config, listen)?;
    // Others may pass through, so that PostgreSQL's own user reaches its directory; what is inside is private.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(data_dir);
    made.with_context(|| data_dir.display().to_string())?;
    limit_connections(&mut config.receive, raise_open_files());
    config.journal.dir = journal_dir(&config, data_dir);
    config.rollup.dir = rollup_dir(&config, data_dir);
    let geo = data_dir.join("geo");
    if config.enrich.geo_database.is_none() && geo.is_dir() {
        config.enrich.geo_database = Some(geo);
    }
    let public = bind_or_any(listen.listen, config.receive.listen, Config::default().receive.listen)?;
    let admin = bind_or_any(listen.admin_listen, config.admin.listen, Config::default().admin.listen)?;
    let (url, admin_url) = (url_of(scheme_of(&config)?, &public)?, url_of("http", &admin)?);

    let cluster = if config.database.url.is_empty() {
        let search = Search { first: std::env::var_os("WEIR_POSTGRES_BIN").map(Into::into) };
        let cluster = Cluster::start(data_dir, &search).await?;
        config.database.url.clone_from(&cluster.url);
        Some(cluster)
    } else {
        None
    };
    let database_url = config.database.url.clone();
    let ready = |keys, person| Ready { url, admin_url, database_url: &database_url, keys, person };
    let is_private = cluster.is_some();
    let served =
        serve_with_keys(config, data_dir, is_private, Listeners { public, admin }, ready, json, shutdown).await;
    if let Some(cluster) = cluster {
        tokio::task::spawn_blocking(move || cluster.stop()).await??;
    }
    served
}

/// The journal of the settings, else the one that `weir up` keeps in its data directory.
pub fn journal_dir(config: &Config, data_dir: &Path) -> PathBuf {
    if config.journal.dir == Config::default().journal.dir {
        data_dir.join("journal")
    } else {
        config.journal.dir.clone()
    }
}

/// Where the collector on this machine has its journal: that of `weir up`, if it has been here.
pub fn used_journal_dir(config: &Config, data_dir: &Path) -> PathBuf {
    if data_dir.join(KEYS_FILE).is_file() { journal_dir(config, data_dir) } else { config.journal.dir.clone() }
}

/// The definitions of the settings, else those that `weir up` has in its data directory.
fn rollup_dir(config: &Config, data_dir: &Path) -> PathBuf {
    if config.rollup.dir == Config::default().rollup.dir { data_dir.join("rollups") } else { config.rollup.dir.clone() }
}

/// Where the collector on this machine has its definitions: that of `weir up`, if it has been here.
pub fn used_rollup_dir(config: &Config, data_dir: &Path) -> PathBuf {
    if data_dir.join(KEYS_FILE).is_file() { rollup_dir(config, data_dir) } else { config.rollup.dir.clone() }
}

async fn serve_with_keys<'a>(
    config: Config,
    data_dir: &Path,
    is_private: bool,
    listeners: Listeners,
    ready: impl FnOnce(KeyPair, Option<Login>) -> Ready<'a>,
    json: bool,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let database = Database::new(&config.database, 1)?;
    migrate::run(&database).await?;
    let person = if is_private { first_person(&database, &config.analyst, data_dir).await } else { None };
    let ready = ready(first_keys(&database, data_dir).await?, person);
    database.close();
    // A browser cannot show the token.
    let demo = config.admin.token.is_empty().then(|| Demo {
        collector: ready.url.clone(),
        source: FIRST_SOURCE,
        public_key: ready.keys.public_key.clone(),
    });
    let try_out = demo.as_ref().map_or_else(String::new, |_| format!("  Try it out      {}/demo\n\n", ready.admin_url));
    let running = Running::start(config, listeners, World::default(), demo).await?;
    announce(&ready, &try_out, json)?;
    Ok(running.until(shutdown).await?)
}

/// The keys of the first source: made once, kept in the data directory so that `up` can print them again.
async fn first_keys(database: &Database, data_dir: &Path) -> anyhow::Result<KeyPair> {
    let file = data_dir.join(KEYS_FILE);
    if let Ok(bytes) = std::fs::read(&file) {
        let keys: KeyPair = serde_json::from_slice(&bytes).with_context(|| file.display().to_string())?;
        if sources::are_known(database, &keys).await? {
            return Ok(keys);
        }
    }
    let keys = match sources::add(database, FIRST_SOURCE, &[]).await {
        // The file was lost, or belongs to another database: the source gets further keys.
        Err(SourceError::Exists(_)) => sources::issue(database, FIRST_SOURCE).await?,
        result => result?,
    };
    write_private(&file, &serde_json::to_vec_pretty(&keys)?)?;
    Ok(keys)
}

fn announce(ready: &Ready<'_>, try_out: &str, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, ready)?;
        writeln!(out)?;
        return out.flush();
    }
    let Ready { url, admin_url, database_url, keys, person } = ready;
    let console = person.as_ref().map_or_else(String::new, |Login { role, password }| {
        let password = password.as_deref().unwrap_or("the password that you chose");
        format!("  Console         {admin_url}/  (sign in as {role} with {password})\n\n")
    });
    let KeyPair { public_key, secret_key } = keys;
    write!(
        out,
        r#"
weir is ready.

  In your pages   <script defer src="{url}/w.js" data-key="{public_key}"></script>

  From a shell    curl {url}/v1/events -H 'authorization: Bearer {secret_key}' \
                    -H 'content-type: application/json' -d '{{"name":"signup","user_id":"7"}}'

  Your events     psql '{database_url}' -c 'select * from analytics.events order by received_at desc limit 5' -x

{try_out}{console}  Metrics         {admin_url}/metrics

Ctrl-C stops.
"#
    )?;
    out.flush()
}

/// Starts in production.
pub async fn serve(mut config: Config, listen: &Listen) -> anyhow::Result<()> {
    let shutdown = shutdown()?;
    check(&config, listen)?;
    limit_connections(&mut config.receive, raise_open_files());
    let public = bind(listen.listen.unwrap_or(config.receive.listen))?;
    let admin = bind(listen.admin_listen.unwrap_or(config.admin.listen))?;
    let (url, admin_url) = (url_of(scheme_of(&config)?, &public)?, url_of("http", &admin)?);
    let running = Running::start(config, Listeners { public, admin }, World::default(), None).await?;
    tracing::info!(url, admin_url, "ready");
    Ok(running.until(shutdown).await?)
}

/// Before anything is bound or started: what is asked for has to be possible, and safe.
fn check(config: &Config, listen: &Listen) -> anyhow::Result<()> {
    config.check()?;
    Ok(config.admin.check_address(listen.admin_listen.unwrap_or(config.admin.listen))?)
}

/// Takes all the file descriptors that the system allows, and says how many: each connection is one, and so is each
/// journal segment.
fn raise_open_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// A connection over the limit is told so; one that finds no file descriptor would wait in silence.
fn limit_connections(receive: &mut config::Receive, open_files_max: Option<u64>) {
    let Some(open_files_max) = open_files_max else { return };
    let room = usize::try_from(open_files_max).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES).max(1);
    if room < receive.connections_max {
        tracing::warn!(open_files_max, "receive.connections_max is cut to {room}: raise the limit of open files");
        receive.connections_max = room;
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| format!("cannot listen on {address}; choose another by --listen"))
}

/// Beyond its queue the kernel drops who connects, unheard, and clients come back only after a second: the library's own
/// queue, of 128, was full whenever some hundreds came at once. The kernel cuts this to `net.core.somaxconn`, 4,096.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    const QUEUE_CONNECTIONS_MAX: u32 = 65_535;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait for the connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(QUEUE_CONNECTIONS_MAX)
}

/// An address that nobody chose may be taken by another program: then any free port does.
fn bind_or_any(asked: Option<SocketAddr>, configured: SocketAddr, default: SocketAddr) -> anyhow::Result<TcpListener> {
    let nobody_chose = asked.is_none() && configured == default;
    match bind(asked.unwrap_or(configured)) {
        Err(error) if nobody_chose && is_taken(&error) => {
            tracing::warn!(address = %configured, "taken by another program: using a free port instead");
            bind(SocketAddr::new(configured.ip(), 0))
        }
        result => result,
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Of the public address.
fn scheme_of(config: &Config) -> Result<&'static str, config::ConfigError> {
    Ok(if config.receive.tls()?.is_some() { "https" } else { "http" })
}

fn url_of(scheme: &str, listener: &TcpListener) -> io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(format!("{scheme}://{address}"))
}

/// Resolves at the first SIGINT or SIGTERM; a second one ends the process at once.
fn shutdown() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // What was promised is in the journal.
            std::process::exit(130);
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_rest() {
        for (open_files, expected) in [
            (None, 10_000),
            (Some(1_000_000), 10_000),
            (Some(10_640), 10_000),
            (Some(10_639), 9_999),
            (Some(1_024), 384),
            (Some(100), 1),
        ] {
            let mut receive = config::Receive { connections_max: 10_000, ..config::Receive::default() };
            limit_connections(&mut receive, open_files);
            assert_eq!(receive.connections_max, expected, "{open_files:?}");
        }
    }
}
