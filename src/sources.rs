//! Sources and their write keys: who may send.
//!
//! Keys are known by their SHA-256. The collector holds all of them in memory and reads them again every two seconds, so
//! a request never asks the database, and a look-up by hash takes the same time whatever the key shares with a real one.

pub mod signature;
pub mod webhooks;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use crate::database::{Database, DatabaseError};
use crate::disk::write_private;
use crate::entropy::{SystemEntropy, secret};
use crate::rate::Bucket;
use webhooks::{Rule, Webhooks};

const READ: &str = include_str!("sources/read.sql");
const ADD: &str = include_str!("sources/add.sql");
const ADD_KEY: &str = include_str!("sources/add_key.sql");
const ADD_ALIAS: &str = include_str!("sources/add_alias.sql");
const LIST: &str = include_str!("sources/list.sql");

/// Characters of a key that are stored and shown, to tell keys apart.
const HINT_CHARS: usize = 8;
/// Domains have 253, ids 36.
const ALIAS_CHARS_MAX: usize = 253;
/// Random bytes in a key: guessing is hopeless from 16 on.
const KEY_BYTES: usize = 24;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KeyKind {
    /// For browsers: seen by everyone, so it can only add events that happen now.
    Public,
    /// For servers: may say whose address and user agent an event has, and import old events.
    Secret,
}

impl KeyKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Secret => "secret",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Public => "pk_",
            Self::Secret => "sk_",
        }
    }
}

/// A key's owner and rights.
#[derive(Debug)]
pub struct WriteKey {
    pub source: Arc<str>,
    pub kind: KeyKind,
    /// Origins that browsers may send from; empty: any.
    pub origins: Arc<[String]>,
    /// What it has used of its rate. A key that is read anew begins anew.
    pub bucket: Bucket,
}

/// Of what the database says; the bucket is this process's own.
impl PartialEq for WriteKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.kind, &self.origins) == (&other.source, other.kind, &other.origins)
    }
}

impl WriteKey {
    pub fn new(source: Arc<str>, kind: KeyKind, origins: Arc<[String]>) -> Self {
        Self { source, kind, origins, bucket: Bucket::default() }
    }
}

type KeyHash = [u8; 32];

fn hash_of(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// The keys in force, replaced whole when they change.
///
/// A copy (hashes only) lies in a file, so that a collector can start while its database is away.
#[derive(Debug, Default)]
pub struct WriteKeys {
    keys: ArcSwap<HashMap<KeyHash, Arc<WriteKey>>>,
    copy: Option<PathBuf>,
    webhooks: Webhooks,
}

/// One key in the copy.
#[derive(Serialize, Deserialize)]
struct Copied {
    hash: KeyHash,
    source: String,
    is_secret: bool,
    origins: Vec<String>,
}

impl WriteKeys {
    /// No keys yet; `copy` is where the copy lies, if there may be one.
    pub fn new(copy: Option<PathBuf>) -> Self {
        Self { keys: ArcSwap::default(), webhooks: Webhooks::new(copy.as_ref()), copy }
    }

    /// Takes the keys of the copy; false if there is none.
    pub fn recall(&self) -> bool {
        let bytes = self.copy.as_ref().and_then(|copy| std::fs::read(copy).ok());
        let Some(copied) = bytes.and_then(|bytes| serde_json::from_slice::<Vec<Copied>>(&bytes).ok()) else {
            return false;
        };
        let key = |key: Copied| {
            let kind = if key.is_secret { KeyKind::Secret } else { KeyKind::Public };
            (key.hash, Arc::new(WriteKey::new(key.source.into(), kind, key.origins.into())))
        };
        self.keys.store(Arc::new(copied.into_iter().map(key).collect()));
        self.webhooks.recall();
        true
    }

    fn remember(&self, keys: &HashMap<KeyHash, Arc<WriteKey>>) {
        let Some(copy) = &self.copy else { return };
        let copied: Vec<Copied> = keys
            .iter()
            .map(|(hash, key)| Copied {
                hash: *hash,
                source: key.source.to_string(),
                is_secret: key.kind == KeyKind::Secret,
                origins: key.origins.to_vec(),
            })
            .collect();
        let bytes = serde_json::to_vec(&copied).unwrap_or_default();
        if let Err(error) = write_private(copy, &bytes) {
            tracing::warn!(%error, path = %copy.display(), "the copy of the write keys was not renewed");
        }
    }

    pub fn get(&self, key: &str) -> Option<Arc<WriteKey>> {
        self.keys.load().get(&hash_of(key)).cloned()
    }

    /// The source as one that takes signed webhooks, if it has a secret for that.
    pub fn webhook(&self, source: &str) -> Rule {
        self.webhooks.get(source)
    }

    /// Reads the keys anew, and the secrets of webhooks.
    pub async fn refresh(&self, database: &Database) -> Result<(), DatabaseError> {
        let client = database.client().await?;
        let rows = client.query_typed(READ, &[]).await?;
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            let Ok(hash) = KeyHash::try_from(row.try_get::<_, &[u8]>("key_hash")?) else {
                continue;
            };
            let kind = if row.try_get::<_, &str>("kind")? == "secret" { KeyKind::Secret } else { KeyKind::Public };
            let source: &str = row.try_get("source")?;
            let origins: Vec<String> = row.try_get("origins")?;
            keys.insert(hash, Arc::new(WriteKey::new(source.into(), kind, origins.into())));
        }
        if **self.keys.load() != keys {
            self.remember(&keys);
            self.keys.store(Arc::new(keys));
        }
        self.webhooks.refresh(&client).await
    }
}

/// A key in clear text: shown to a person once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    pub public_key: String,
    pub secret_key: String,
}

/// One line of `weir source list`.
#[derive(Debug)]
pub struct Listed {
    pub source: String,
    pub origins: Vec<String>,
    pub disabled: bool,
    /// Kind, first characters, and end of life of each key.
    pub keys: Vec<String>,
}

/// Why a source could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("a source of the name {0} exists already; `weir source rotate` makes new keys for it")]
    Exists(String),
    #[error("there is no source of the name {0}; `weir source list` shows them")]
    Missing(String),
    #[error("{0:?} is no name for a source: use up to 63 letters, digits, dots, dashes or underscores")]
    BadName(String),
    #[error("{0:?} is no origin: use scheme://host or scheme://host:port")]
    BadOrigin(String),
    #[error("{0:?} cannot be an alias: use up to {ALIAS_CHARS_MAX} visible ASCII characters, and no key of weir's")]
    BadAlias(String),
    #[error("the alias {0} stands for a source already; `weir source list` shows which")]
    AliasTaken(String),
    #[error("{source_name} has no alias {alias}; `weir source list` shows them")]
    NoAlias { source_name: String, alias: String },
    #[error("this cannot be a signing secret: expected {0}")]
    BadSecret(&'static str),
    #[error(
        "{source_name} would have more than {most} signing secrets; take old ones away with `weir source webhook --remove`"
    )]
    TooManySecrets { source_name: String, most: i64 },
    #[error("{source_name} has no signing secret of {service}; `weir source list` shows what it has")]
    NoSecret { source_name: String, service: &'static str },
    #[error("the operating system gave no random bytes: {0}")]
    Random(std::io::Error),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for SourceError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Adds a source with a public and a secret key.
pub async fn add(database: &Database, source: &str, origins: &[String]) -> Result<KeyPair, SourceError> {
    let name_ok = !source.is_empty()
        && source.len() <= 63
        && source.starts_with(|first: char| first.is_ascii_alphanumeric())
        && source.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !name_ok {
        return Err(SourceError::BadName(source.to_owned()));
    }
    let origins: Vec<String> = origins.iter().map(|origin| normalize_origin(origin)).collect::<Result<_, _>>()?;
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let added = transaction.execute_typed(ADD, &[(&source, Type::TEXT), (&origins, Type::TEXT_ARRAY)]).await?;
    if added == 0 {
        return Err(SourceError::Exists(source.to_owned()));
    }
    let keys = add_keys(&transaction, source).await?;
    transaction.commit().await?;
    Ok(keys)
}

/// Lets `alias`, which another product's client sends in place of a key, stand for a public key of the source.
pub async fn add_alias(database: &Database, source: &str, alias: &str) -> Result<(), SourceError> {
    let is_fit = (1..=ALIAS_CHARS_MAX).contains(&alias.len())
        && alias.bytes().all(|byte| byte.is_ascii_graphic())
        && ![KeyKind::Public, KeyKind::Secret].iter().any(|kind| alias.starts_with(kind.prefix()));
    if !is_fit {
        return Err(SourceError::BadAlias(alias.to_owned()));
    }
    let client = database.client().await?;
    let hash = hash_of(alias);
    let added = client
        .execute_typed(ADD_ALIAS, &[(&hash.as_slice(), Type::BYTEA), (&source, Type::TEXT), (&alias, Type::TEXT)])
        .await;
    match added {
        Ok(0) => Err(SourceError::AliasTaken(alias.to_owned())),
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
            Err(SourceError::Missing(source.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Takes an alias away from its source.
pub async fn remove_alias(database: &Database, source: &str, alias: &str) -> Result<(), SourceError> {
    const REMOVE: &str = "delete from weir.write_keys where kind = 'alias' and source = $1 and hint = $2";
    let client = database.client().await?;
    match client.execute_typed(REMOVE, &[(&source, Type::TEXT), (&alias, Type::TEXT)]).await? {
        0 => Err(SourceError::NoAlias { source_name: source.to_owned(), alias: alias.to_owned() }),
        _ => Ok(()),
    }
}

/// Gives a source further keys; those it has stay in force.
pub async fn issue(database: &Database, source: &str) -> Result<KeyPair, SourceError> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let keys = add_keys(&transaction, source).await?;
    transaction.commit().await?;
    Ok(keys)
}

/// Whether this database knows both keys.
pub async fn are_known(database: &Database, keys: &KeyPair) -> Result<bool, SourceError> {
    let known = WriteKeys::default();
    known.refresh(database).await?;
    Ok(known.get(&keys.public_key).is_some() && known.get(&keys.secret_key).is_some())
}

/// Makes a new key of one kind; the old ones stop after `grace_s` seconds.
pub async fn rotate(database: &Database, source: &str, kind: KeyKind, grace_s: u32) -> Result<String, SourceError> {
    const EXPIRE: &str = "update weir.write_keys set expires_at = least(expires_at, now() + make_interval(secs => $3)) \
                          where source = $1 and kind = $2";
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    let expired = transaction
        .execute_typed(
            EXPIRE,
            &[(&source, Type::TEXT), (&kind.name(), Type::TEXT), (&f64::from(grace_s), Type::FLOAT8)],
        )
        .await?;
    if expired == 0 {
        return Err(SourceError::Missing(source.to_owned()));
    }
    let key = add_key(&transaction, source, kind).await?;
    transaction.commit().await?;
    Ok(key)
}

/// Refuses (or takes again) everything sent with the source's keys.
pub async fn set_disabled(database: &Database, source: &str, disabled: bool) -> Result<(), SourceError> {
    const SET: &str =
        "update weir.sources set disabled_at = case when $2 then coalesce(disabled_at, now()) end where source = $1";
    let client = database.client().await?;
    match client.execute_typed(SET, &[(&source, Type::TEXT), (&disabled, Type::BOOL)]).await? {
        0 => Err(SourceError::Missing(source.to_owned())),
        _ => Ok(()),
    }
}

/// All sources with their keys' first characters.
pub async fn list(database: &Database) -> Result<Vec<Listed>, SourceError> {
    let rows = database.client().await?.query_typed(LIST, &[]).await?;
    let listed = |row: &tokio_postgres::Row| {
        Ok(Listed {
            source: row.try_get("source")?,
            origins: row.try_get("origins")?,
            disabled: row.try_get("disabled")?,
            keys: row.try_get("keys")?,
        })
    };
    rows.iter().map(listed).collect()
}

async fn add_keys(transaction: &deadpool_postgres::Transaction<'_>, source: &str) -> Result<KeyPair, SourceError> {
    Ok(KeyPair {
        public_key: add_key(transaction, source, KeyKind::Public).await?,
        secret_key: add_key(transaction, source, KeyKind::Secret).await?,
    })
}

async fn add_key(
    transaction: &deadpool_postgres::Transaction<'_>,
    source: &str,
    kind: KeyKind,
) -> Result<String, SourceError> {
    let secret = secret::<KEY_BYTES>(&SystemEntropy).map_err(SourceError::Random)?;
    let key = format!("{}{secret}", kind.prefix());
    let (hash, hint) = (hash_of(&key), &key[..HINT_CHARS]);
    transaction
        .execute_typed(
            ADD_KEY,
            &[(&hash.as_slice(), Type::BYTEA), (&source, Type::TEXT), (&kind.name(), Type::TEXT), (&hint, Type::TEXT)],
        )
        .await?;
    Ok(key)
}

/// `scheme://host[:port]` as browsers write it in `Origin`.
fn normalize_origin(origin: &str) -> Result<String, SourceError> {
    let bad = || SourceError::BadOrigin(origin.to_owned());
    let url = url::Url::parse(origin).map_err(|_| bad())?;
    if !url.has_host() || url.path() != "/" || url.query().is_some() {
        return Err(bad());
    }
    Ok(url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        assert_eq!(normalize_origin("HTTPS://Shop.Example:443/").expect("an origin"), "https://shop.example");
        assert_eq!(normalize_origin("http://localhost:3000").expect("an origin"), "http://localhost:3000");
        for bad in ["shop.example", "https://a.example/x", "mailto:a@b"] {
            assert!(normalize_origin(bad).is_err(), "{bad}");
        }
    }
}
