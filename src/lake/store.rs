//! Where objects lie: a directory, or a bucket of an S3-compatible store.
//!
//! An object is put whole in the place of an older one, or not at all: in a directory it is written beside its place, synced
//! and renamed; a bucket shows an object when its last part has come and was confirmed. Nobody ever reads a half.

mod http;

use std::io::{self, SeekFrom};
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use url::Url;

use super::settings::Lake;
use http::Connector;

/// Each part of a large object but the last: some stores want all of one size. S3 takes 10,000 parts, so 80 GB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
const PARTS_MAX: u32 = 10_000;
/// A request that failed is repeated after pauses that grow from a tenth of a second to ten, for a minute at most.
const RETRIES_MAX: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// An object could not be written, read, or removed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{url:?}: {reason}")]
    BadUrl { url: String, reason: &'static str },
    #[error("TLS for the lake: {0}")]
    Tls(String),
    #[error("{}: {source}", .path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}", crate::database::chain(.0))]
    Bucket(#[from] object_store::Error),
    #[error("{key} has more than {PARTS_MAX} parts of {PART_BYTES} bytes")]
    TooLarge { key: String },
}

/// What a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Dir(PathBuf),
    Bucket { name: String, prefix: String },
}

impl Place {
    pub fn of(url: &str) -> Result<Self, StoreError> {
        let bad = |reason| StoreError::BadUrl { url: url.to_owned(), reason };
        let parsed = Url::parse(url).map_err(|_| bad("as file:///srv/weir/lake or s3://bucket/prefix"))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad("credentials come from the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
        }
        match (parsed.scheme(), parsed.host_str().unwrap_or_default()) {
            ("file", "") => {
                let dir = parsed.to_file_path().map_err(|()| bad("the directory is not a path of this machine"))?;
                Ok(Self::Dir(dir))
            }
            ("file", _) => Err(bad("three slashes: file:///srv/weir/lake")),
            ("s3", "") => Err(bad("the bucket is missing: s3://bucket/prefix")),
            ("s3", name) => {
                Ok(Self::Bucket { name: name.to_owned(), prefix: parsed.path().trim_matches('/').to_owned() })
            }
            _ => Err(bad("a directory, file:///..., or a bucket, s3://...: stores with another API are not known")),
        }
    }
}

/// See the module.
pub enum Store {
    Dir(PathBuf),
    Bucket { bucket: Box<AmazonS3>, prefix: String },
}

/// An object that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    /// By which the store tells it from others of its name; a directory has none.
    pub e_tag: Option<String>,
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Below the lake's URL.
    pub key: String,
    pub stored: Stored,
}

impl Store {
    /// Opens what the settings name; `environment` has the credentials, as `AWS_ACCESS_KEY_ID`. Nothing is asked of it yet.
    pub fn open(settings: &Lake, environment: &[(String, String)]) -> Result<Self, StoreError> {
        match Place::of(&settings.url)? {
            Place::Dir(dir) => Ok(Self::Dir(dir)),
            Place::Bucket { name, prefix } => {
                let mut builder = AmazonS3Builder::new();
                for (name, value) in environment {
                    if let Ok(key) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                builder = builder.with_bucket_name(name).with_http_connector(Connector).with_retry(RetryConfig {
                    backoff: BackoffConfig { init_backoff: PAUSE_MIN, max_backoff: PAUSE_MAX, base: 2.0 },
                    max_retries: RETRIES_MAX,
                    retry_timeout: RETRY_TIMEOUT,
                });
                if !settings.endpoint.is_empty() {
                    builder = builder.with_endpoint(&settings.endpoint);
                }
                if !settings.region.is_empty() {
                    builder = builder.with_region(&settings.region);
                }
                Ok(Self::Bucket { bucket: Box::new(builder.build()?), prefix })
            }
        }
    }

    /// What people call the object.
    pub fn name(&self, key: &str) -> String {
        match self {
            Self::Dir(dir) => dir.join(key).display().to_string(),
            Self::Bucket { .. } => key.to_owned(),
        }
    }

    /// Begins to write an object.
    pub fn begin(&self, key: &str) -> Upload<'_> {
        Upload { store: self, key: key.to_owned(), held: None, bytes: 0, parts: 0, state: State::None }
    }

    /// Removes an object; that it is gone already is no error.
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(key);
                match fs::remove_file(&path).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on(&path)(error)),
                    _ => Ok(()),
                }
            }
            Self::Bucket { bucket, prefix } => match bucket.delete(&path(prefix, key)?).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                result => Ok(result?),
            },
        }
    }

    /// Bytes `from` to `to`, that one excluded, of an object.
    pub async fn range(&self, key: &str, from: u64, to: u64) -> Result<Bytes, StoreError> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(key);
                let read = async {
                    let mut file = File::open(&path).await?;
                    file.seek(SeekFrom::Start(from)).await?;
                    let mut bytes = Vec::new();
                    file.take(to.saturating_sub(from)).read_to_end(&mut bytes).await?;
                    Ok(Bytes::from(bytes))
                };
                read.await.map_err(on(&path))
            }
            Self::Bucket { bucket, prefix } => Ok(bucket.get_range(&path(prefix, key)?, from..to).await?),
        }
    }

    /// All Parquet files below the lake's URL.
    pub async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut found = match self {
            Self::Dir(dir) => list_dir(dir).await?,
            Self::Bucket { bucket, prefix } => {
                let below = Path::parse(prefix).map_err(object_store::Error::from)?;
                let metas: Vec<_> = bucket.list(Some(&below)).try_collect().await?;
                let listed = |meta: object_store::ObjectMeta| {
                    let key = meta.location.as_ref().strip_prefix(prefix.as_str())?.trim_start_matches('/').to_owned();
                    Some(Listed { key, stored: Stored { bytes: meta.size, e_tag: meta.e_tag } })
                };
                metas.into_iter().filter_map(listed).collect()
            }
        };
        found.retain(|object| object.key.ends_with(".parquet"));
        found.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(found)
    }
}

/// Directories are two deep: `date=…/source=…`.
async fn list_dir(dir: &FilePath) -> Result<Vec<Listed>, StoreError> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(next) = dirs.pop() {
        let read = async {
            let mut entries = fs::read_dir(&next).await?;
            while let Some(entry) = entries.next_entry().await? {
                let (path, meta) = (entry.path(), entry.metadata().await?);
                if meta.is_dir() {
                    dirs.push(path);
                } else if let Ok(Some(key)) = path.strip_prefix(dir).map(FilePath::to_str) {
                    found.push(Listed { key: key.to_owned(), stored: Stored { bytes: meta.len(), e_tag: None } });
                }
            }
            Ok::<(), io::Error>(())
        };
        match read.await {
            // Nothing was ever written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(on(&next))?,
        }
    }
    Ok(found)
}

fn path(prefix: &str, key: &str) -> Result<Path, object_store::Error> {
    Ok(Path::parse(format!("{prefix}/{key}"))?)
}

fn on(path: &FilePath) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Disk { path, source }
}

/// An object under way. Dropped, it never comes to be; parts of it may stay in a bucket, unseen, until its lifecycle rule
/// removes them.
pub struct Upload<'a> {
    store: &'a Store,
    key: String,
    /// The last part that came: an object of one part is put at once.
    held: Option<Bytes>,
    bytes: u64,
    parts: u32,
    state: State,
}

enum State {
    None,
    File(File),
    Parts(Box<dyn MultipartUpload>),
}

impl Upload<'_> {
    /// Takes the next part, of [`PART_BYTES`] unless it is the last.
    pub async fn part(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.bytes += part.len() as u64;
        match self.held.replace(part) {
            Some(before) => self.write(before).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.parts += 1;
        match self.store {
            Store::Dir(dir) => {
                let staging = dir.join(&self.key).with_extension("new");
                if let State::None = self.state {
                    self.state = State::File(create(&staging).await.map_err(on(&staging))?);
                }
                if let State::File(file) = &mut self.state {
                    file.write_all(&part).await.map_err(on(&staging))?;
                }
            }
            Store::Bucket { bucket, prefix } => {
                if self.parts >= PARTS_MAX {
                    return Err(StoreError::TooLarge { key: self.key.clone() });
                }
                if let State::None = self.state {
                    self.state = State::Parts(bucket.put_multipart(&path(prefix, &self.key)?).await?);
                }
                if let State::Parts(parts) = &mut self.state {
                    parts.put_part(part.into()).await?;
                }
            }
        }
        Ok(())
    }

    /// Puts the object in its place.
    pub async fn finish(mut self) -> Result<Stored, StoreError> {
        let last = self.held.take().unwrap_or_default();
        let e_tag = match (self.store, &mut self.state) {
            (Store::Bucket { bucket, prefix }, State::None) => {
                bucket.put(&path(prefix, &self.key)?, last.into()).await?.e_tag
            }
            (Store::Bucket { .. }, State::Parts(parts)) => {
                parts.put_part(last.into()).await?;
                parts.complete().await?.e_tag
            }
            (Store::Dir(dir), _) => {
                self.write(last).await?;
                let path = dir.join(&self.key);
                if let State::File(file) = &mut self.state {
                    publish(dir, &path, file).await?;
                }
                None
            }
            // Only a directory has files.
            (Store::Bucket { .. }, State::File(_)) => None,
        };
        Ok(Stored { bytes: self.bytes, e_tag })
    }

    /// Gives up what was written. Of two errors the one that led here is to be told.
    pub async fn abort(mut self) {
        match &mut self.state {
            State::Parts(parts) => drop(parts.abort().await),
            State::File(_) => {
                if let Store::Dir(dir) = self.store {
                    let _ = fs::remove_file(dir.join(&self.key).with_extension("new")).await;
                }
            }
            State::None => {}
        }
    }
}

/// Events are personal data: nobody but the owner reads what is written.
async fn create(staging: &FilePath) -> io::Result<File> {
    if let Some(parent) = staging.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).await?;
    }
    OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(staging).await
}

/// What has its name is whole, also after a power cut.
async fn publish(dir: &FilePath, path: &FilePath, file: &mut File) -> Result<(), StoreError> {
    let staging = path.with_extension("new");
    file.flush().await.map_err(on(&staging))?;
    file.sync_all().await.map_err(on(&staging))?;
    fs::rename(&staging, path).await.map_err(on(path))?;
    for parent in path.ancestors().skip(1).take_while(|parent| parent.starts_with(dir)) {
        let sync = async { File::open(parent).await?.sync_all().await };
        sync.await.map_err(on(parent))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_directory_or_a_bucket() {
        let bucket = |name: &str, prefix: &str| Place::Bucket { name: name.to_owned(), prefix: prefix.to_owned() };
        for (url, place) in [
            ("file:///srv/lake", Some(Place::Dir("/srv/lake".into()))),
            ("file:///srv/the%20lake/", Some(Place::Dir("/srv/the lake/".into()))),
            ("s3://events", Some(bucket("events", ""))),
            ("s3://events/a/b/", Some(bucket("events", "a/b"))),
            ("file://srv/lake", None),
            ("/srv/lake", None),
            ("s3:///a", None),
            ("s3://key:secret@events/a", None),
            ("gs://events/a", None),
            ("https://events.s3.amazonaws.com", None),
        ] {
            assert_eq!(Place::of(url).ok(), place, "{url}");
        }
    }

    #[tokio::test]
    async fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::Dir(dir.path().join("lake"));
        assert_eq!(store.list().await.expect("listed"), []);
        let key = "date=2026-11-20/source=web/events-1.parquet";
        let mut upload = store.begin(key);
        upload.part(Bytes::from(vec![1; PART_BYTES])).await.expect("taken");
        upload.part(Bytes::from_static(b"end")).await.expect("taken");
        assert_eq!(store.list().await.expect("listed"), []);
        let stored = upload.finish().await.expect("in its place");
        assert_eq!(stored.bytes, PART_BYTES as u64 + 3);
        assert_eq!(store.list().await.expect("listed"), [Listed { key: key.to_owned(), stored: stored.clone() }]);
        let end = store.range(key, stored.bytes - 3, stored.bytes).await.expect("read");
        assert_eq!(&end[..], b"end");

        // One that is given up leaves the one before.
        let mut upload = store.begin(key);
        upload.part(Bytes::from(vec![2; PART_BYTES])).await.expect("taken");
        upload.part(Bytes::from_static(b"other")).await.expect("taken");
        upload.abort().await;
        assert_eq!(store.list().await.expect("listed")[0].stored, stored);
        let mut files = std::fs::read_dir(dir.path().join("lake/date=2026-11-20/source=web")).expect("a directory");
        assert!(files.next().is_some() && files.next().is_none());
        let mut upload = store.begin(key);
        upload.part(Bytes::from_static(b"small")).await.expect("taken");
        assert_eq!(upload.finish().await.expect("in its place").bytes, 5);
        store.remove(key).await.expect("removed");
        store.remove(key).await.expect("gone already");
        assert_eq!(store.list().await.expect("listed"), []);
    }
}
