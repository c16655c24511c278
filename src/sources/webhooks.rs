//! The secrets with which services sign their webhooks.
//!
//! They are kept readable, in `weir.webhook_secrets` and in a copy of mode 0600 beside that of the keys: a signature is checked
//! by making it again. As keys are, they are all in memory, and outlive an absence of the database.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use deadpool_postgres::Object;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::signature::{self, Fault};
use super::{KeyKind, SourceError, WriteKey};
use crate::database::{Database, DatabaseError};
use crate::decode::webhook::{Headers, Service};
use crate::disk::write_private;

const READ: &str = include_str!("read_webhooks.sql");

/// Beside that of the keys.
const COPY_FILE: &str = "webhooks.json";
/// Secrets of one source: each costs an HMAC over a body that may be forged. A change of secret needs two.
const SECRETS_MAX: i64 = 8;
/// Shorter ones are guessed; all of these services make longer ones than 16 characters.
const SECRET_BYTES_MIN: usize = 8;
const SECRET_BYTES_MAX: usize = 512;

/// A secret, and who signs with it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Secret {
    source: String,
    /// `None`: a later version's.
    service: Option<Service>,
    text: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a secret of {:?} for {}", self.service, self.source)
    }
}

/// A source that takes signed webhooks.
pub struct Webhook {
    /// With a secret key's rights: what is signed comes from a server.
    pub key: Arc<WriteKey>,
    keys: Vec<(Service, Vec<u8>)>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "webhooks of {}", self.key.source)
    }
}

impl Webhook {
    /// Who has signed `body`.
    pub fn verify<'h>(&self, headers: &impl Headers<'h>, body: &[u8], now_s: i64) -> Result<Service, Fault> {
        let mut fault = None;
        for service in Service::ALL {
            let mut keys =
                self.keys.iter().filter(|(own, _)| *own == service).map(|(_, key)| key.as_slice()).peekable();
            if keys.peek().is_none() {
                continue;
            }
            match signature::verify(service, keys, headers, body, now_s) {
                Ok(()) => return Ok(service),
                // A source may take those of several services: the one that signed tells more than those that did not.
                Err(missing @ Fault::Missing(_)) => fault = fault.or(Some(missing)),
                Err(other) => fault = Some(other),
            }
        }
        Err(fault.unwrap_or(Fault::Wrong))
    }
}

/// Whose webhooks of a source are believed.
#[derive(Debug)]
pub enum Rule {
    /// The secrets were not read yet.
    Unknown,
    /// Of those who have the source's secret key.
    Key,
    /// Of those who have signed them.
    Signature(Arc<Webhook>),
}

/// All of them, replaced whole when they change.
#[derive(Debug, Default)]
pub(super) struct Webhooks {
    /// `None` until they are read.
    known: ArcSwapOption<Known>,
    copy: Option<PathBuf>,
}

#[derive(Debug)]
struct Known {
    secrets: Vec<Secret>,
    by_source: HashMap<String, Arc<Webhook>>,
}

impl Known {
    fn new(secrets: Vec<Secret>) -> Self {
        let mut keys: HashMap<String, Vec<(Service, Vec<u8>)>> = HashMap::new();
        for Secret { source, service, text } in &secrets {
            // Even where none of its secrets is usable, such a source takes nothing unsigned.
            let keys = keys.entry(source.clone()).or_default();
            let Some(service) = *service else { continue };
            match signature::key_of(service, text) {
                Ok(key) => keys.push((service, key)),
                Err(expected) => tracing::warn!(source, expected, "a webhook secret is not usable"),
            }
        }
        let webhook = |(source, keys): (String, _)| {
            let key = Arc::new(WriteKey::new(source.as_str().into(), KeyKind::Secret, Arc::default()));
            (source, Arc::new(Webhook { key, keys }))
        };
        Self { secrets, by_source: keys.into_iter().map(webhook).collect() }
    }
}

impl Webhooks {
    /// `keys` is where the copy of the keys lies, if there may be one.
    pub fn new(keys: Option<&PathBuf>) -> Self {
        Self { known: ArcSwapOption::empty(), copy: keys.map(|keys| keys.with_file_name(COPY_FILE)) }
    }

    pub fn get(&self, source: &str) -> Rule {
        match self.known.load().as_ref() {
            None => Rule::Unknown,
            Some(known) => {
                known.by_source.get(source).map_or(Rule::Key, |webhook| Rule::Signature(Arc::clone(webhook)))
            }
        }
    }

    /// Takes those of the copy. Without one, whether a source's have to be signed is not known.
    pub fn recall(&self) {
        let bytes = self.copy.as_ref().and_then(|copy| std::fs::read(copy).ok());
        if let Some(secrets) = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            self.known.store(Some(Arc::new(Known::new(secrets))));
        }
    }

    pub async fn refresh(&self, client: &Object) -> Result<(), DatabaseError> {
        let mut secrets = Vec::new();
        for row in client.query_typed(READ, &[]).await? {
            // One of a later version's cannot be checked here; its source still takes nothing unsigned.
            let service = Service::of_name(row.try_get("service")?);
            secrets.push(Secret { source: row.try_get("source")?, service, text: row.try_get("secret")? });
        }
        if self.known.load().as_ref().is_none_or(|known| known.secrets != secrets) {
            self.remember(&secrets);
            self.known.store(Some(Arc::new(Known::new(secrets))));
        }
        Ok(())
    }

    fn remember(&self, secrets: &[Secret]) {
        let Some(copy) = &self.copy else { return };
        let bytes = serde_json::to_vec(secrets).unwrap_or_default();
        // An empty one, too: what was taken away must not come back with it.
        if let Err(error) = write_private(copy, &bytes) {
            tracing::warn!(%error, path = %copy.display(), "the copy of the webhook secrets was not renewed");
        }
    }
}

/// Has webhooks of the source's checked by this secret, too. With `grace_s`, earlier ones of the service end after so many
/// seconds.
pub async fn add(
    database: &Database,
    source: &str,
    service: Service,
    secret: &str,
    grace_s: Option<u32>,
) -> Result<(), SourceError> {
    const LOCK: &str = "select source from weir.sources where source = $1 for update";
    const DROP: &str = "delete from weir.webhook_secrets where source = $1 and expires_at <= now()";
    const EXPIRE: &str = "update weir.webhook_secrets \
                             set expires_at = least(expires_at, now() + make_interval(secs => $3)) \
                           where source = $1 and service = $2";
    const ADD: &str = "insert into weir.webhook_secrets (source, service, secret) values ($1, $2, $3) \
                       on conflict (source, service, secret) do update set expires_at = null";
    const COUNT: &str = "select count(*) from weir.webhook_secrets \
                          where source = $1 and (expires_at is null or expires_at > now())";
    check(service, secret)?;
    let service = service.name();
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    if transaction.query_typed(LOCK, &[(&source, Type::TEXT)]).await?.is_empty() {
        return Err(SourceError::Missing(source.to_owned()));
    }
    if let Some(grace_s) = grace_s {
        let seconds = f64::from(grace_s);
        transaction
            .execute_typed(EXPIRE, &[(&source, Type::TEXT), (&service, Type::TEXT), (&seconds, Type::FLOAT8)])
            .await?;
    }
    transaction.execute_typed(DROP, &[(&source, Type::TEXT)]).await?;
    transaction.execute_typed(ADD, &[(&source, Type::TEXT), (&service, Type::TEXT), (&secret, Type::TEXT)]).await?;
    let count: i64 = transaction.query_typed_one(COUNT, &[(&source, Type::TEXT)]).await?.try_get(0)?;
    if count > SECRETS_MAX {
        return Err(SourceError::TooManySecrets { source_name: source.to_owned(), most: SECRETS_MAX });
    }
    transaction.commit().await?;
    Ok(())
}

/// Forgets all secrets of the service's: then its webhooks need a write key again.
pub async fn remove(database: &Database, source: &str, service: Service) -> Result<(), SourceError> {
    const REMOVE: &str = "delete from weir.webhook_secrets where source = $1 and service = $2";
    let client = database.client().await?;
    let service = service.name();
    match client.execute_typed(REMOVE, &[(&source, Type::TEXT), (&service, Type::TEXT)]).await? {
        0 => Err(SourceError::NoSecret { source_name: source.to_owned(), service }),
        _ => Ok(()),
    }
}

fn check(service: Service, secret: &str) -> Result<(), SourceError> {
    let is_long = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len());
    if !is_long || secret.chars().any(char::is_control) {
        return Err(SourceError::BadSecret("one line of 8 to 512 bytes"));
    }
    signature::key_of(service, secret).map(drop).map_err(SourceError::BadSecret)
}
