//! Checkpoints of ndshm in S3 and the object stores that speak its protocol.
//!
//! [`S3Bucket`] is a place for [`ndshm::Checkpoint`] and [`ndshm::Restore`]. The requests run on
//! two threads of its own, so it can be used inside of any runtime and without one.
//!
//! ```no_run
//! use ndshm_s3::S3Bucket;
//!
//! let bucket = S3Bucket::from_url("s3://bucket/run")?;
//! let manager = ndshm::Manager::open("/data/store")?;
//! ndshm::Checkpoint::new().keep(3).write(&manager, &bucket)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use futures_util::StreamExt;
use ndshm::{Bucket, Object, Part, Version};
use object_store::{
    ClientOptions, Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, UpdateVersion,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use std::{future::Future, io, sync::Arc, sync::mpsc, time::Duration};
use tokio::runtime::Runtime;

/// Zeros for the end of an object.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
/// The longest time of a request: that of a chunk over a slow connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Threads that send and receive.
const THREADS: usize = 2;
/// The variables that name the server, with the protocol.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// A prefix in a bucket of S3, or of another server with its protocol.
///
/// Requests that fail for a time (500, 503, a cut connection) are repeated for up to three minutes.
pub struct S3Bucket {
    store: Arc<dyn ObjectStore>,
    /// Without slashes at its ends.
    prefix: String,
    url: String,
    runtime: Runtime,
}

impl S3Bucket {
    /// The place of a URL, `s3://BUCKET/PREFIX`.
    ///
    /// The server, the region and the credentials come from the variables that AWS's own tools
    /// read: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`; else from the machine, where it is one of AWS's. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the URL or a variable cannot be used.
    pub fn from_url(url: &str) -> io::Result<Self> {
        Self::with_options(url, [])
    }

    /// [`from_url`](Self::from_url) with settings that go before the variables, by the names of
    /// these without `AWS_` and in small letters: `endpoint`, `region`, `access_key_id`,
    /// `secret_access_key`, `allow_http`, ...
    ///
    /// # Errors
    ///
    /// Those of `from_url`; `InvalidInput` where a name is not known.
    pub fn with_options<'a>(
        url: &str,
        options: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<Self> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
        let rest = url.strip_prefix("s3://").or(url.strip_prefix("s3a://"));
        let rest = rest.ok_or_else(|| invalid("the URL does not begin with s3://".into()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(invalid("the URL has no bucket: s3://BUCKET/PREFIX".into()));
        }
        let mut endpoint = ENDPOINTS.iter().find_map(|name| std::env::var(name).ok());
        let mut builder = AmazonS3Builder::from_env();
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        for (name, value) in options {
            let key: AmazonS3ConfigKey = name
                .parse()
                .map_err(|_| invalid(format!("there is no setting {name:?}")))?;
            if key == AmazonS3ConfigKey::Endpoint {
                endpoint = Some(value.to_owned());
            }
            builder = builder.with_config(key, value);
        }
        // A server without TLS is the user's choice, in the URL of the server.
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let client = ClientOptions::new()
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(is_plain);
        let store = builder
            .with_bucket_name(bucket)
            .with_client_options(client)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let prefix = prefix.trim_matches('/').to_owned();
        Path::parse(&prefix).map_err(|error| invalid(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("ndshm-s3")
            .enable_all()
            .build()?;
        Ok(Self {
            store: Arc::new(store),
            prefix,
            url: url.trim_end_matches('/').to_owned(),
            runtime,
        })
    }

    fn path(&self, key: &str) -> io::Result<Path> {
        let whole = match (&*self.prefix, key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        Path::parse(whole).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// A key of the store as one of this place.
    fn key(&self, path: &Path) -> String {
        let path = path.as_ref();
        let rest = path.strip_prefix(&*self.prefix).unwrap_or(path);
        rest.trim_start_matches('/').to_owned()
    }

    /// Fills `into` from a server that sends whole objects only.
    fn get_part_of_whole(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        let object = self.get(key)?.ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = start.saturating_add(into.len());
        let part = object.bytes.get(start..end);
        into.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// Runs a request on the threads of this place, and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        let (send, receive) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // The caller waits, unless it panicked.
            drop(send.send(request.await));
        });
        receive
            .recv()
            .map_err(|_| io::Error::other("the request ended without an answer"))
    }
}

/// An error of the store, with the kinds that callers look at.
fn failed(error: Error) -> io::Error {
    let kind = match &error {
        Error::NotFound { .. } => io::ErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => io::ErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        _ => io::ErrorKind::Other,
    };
    // All of the chain in one line: the status and the server's reason are at its end.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    io::Error::new(kind, text)
}

/// Whether a server answered a request for a range with the whole object, as `rclone serve s3`
/// does. The store tells it by its text alone.
fn is_without_ranges(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::NotSupported { .. })
        && error.to_string().contains("non-partial response")
}

fn payload(parts: &[Part<'_>]) -> PutPayload {
    let mut pieces = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => pieces.push(bytes.to_vec().into()),
            Part::Zeros(len) => {
                let mut left = *len as usize;
                while left > 0 {
                    let piece = left.min(ZEROS.len());
                    pieces.push(bytes::Bytes::from_static(&ZEROS[..piece]));
                    left -= piece;
                }
            }
        }
    }
    PutPayload::from_iter(pieces)
}

impl Bucket for S3Bucket {
    fn location(&self) -> String {
        self.url.clone()
    }

    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        let (store, path, payload) = (self.store.clone(), self.path(key)?, payload(parts));
        let put = self.wait(async move { store.put(&path, payload).await })?;
        put.map(drop).map_err(failed)
    }

    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        let mode = match seen {
            None => PutMode::Create,
            Some(Version(tag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: None,
            }),
        };
        let (store, path) = (self.store.clone(), self.path(key)?);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.wait(async move {
            let options = PutOptions::from(mode);
            match store.put_opts(&path, payload.clone(), options).await {
                // The server has no conditions.
                Err(Error::NotImplemented { .. }) => store.put(&path, payload).await,
                put => put,
            }
        })?;
        match put {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            // An object with a version that is no more.
            Err(Error::NotFound { .. }) if seen.is_some() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        let (store, path) = (self.store.clone(), self.path(key)?);
        let got = self.wait(async move {
            let result = store.get(&path).await?;
            let tag = result.meta.e_tag.clone();
            Ok((result.bytes().await?, tag))
        })?;
        match got {
            Ok((bytes, tag)) => Ok(Some(Object {
                bytes: bytes.to_vec(),
                version: Version(tag.unwrap_or_default()),
            })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let (store, path) = (self.store.clone(), self.path(key)?);
        let range = GetRange::Bounded(start..start + into.len() as u64);
        let (send, receive) = mpsc::channel();
        self.runtime.spawn(async move {
            let options = GetOptions::new().with_range(Some(range));
            match store.get_opts(&path, options).await {
                Ok(result) => {
                    let mut pieces = result.into_stream();
                    while let Some(piece) = pieces.next().await {
                        if send.send(piece).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => drop(send.send(Err(error))),
            }
        });
        let mut filled = 0;
        for piece in receive {
            let piece = match piece {
                Err(error) if filled == 0 && is_without_ranges(&error) => {
                    return self.get_part_of_whole(key, start, into);
                }
                piece => piece.map_err(failed)?,
            };
            let end = filled + piece.len();
            let part = into.get_mut(filled..end).ok_or_else(|| {
                io::Error::other("the server sent more bytes than it was asked for")
            })?;
            part.copy_from_slice(&piece);
            filled = end;
        }
        match filled == into.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        let (store, path) = (self.store.clone(), self.path(prefix)?);
        let listed = self.wait(async move {
            let mut listed = store.list(Some(&path));
            let mut all = Vec::new();
            while let Some(one) = listed.next().await {
                all.push(one?);
            }
            Ok(all)
        })?;
        let listed = listed.map_err(failed)?.into_iter();
        Ok(listed
            .map(|one| (self.key(&one.location), one.size))
            .collect())
    }

    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        let (store, path) = (self.store.clone(), self.path(prefix)?);
        let listed = self.wait(async move { store.list_with_delimiter(Some(&path)).await })?;
        let listed = listed.map_err(failed)?;
        let objects = listed.objects.iter().map(|object| &object.location);
        let paths = listed.common_prefixes.iter().chain(objects);
        Ok(paths
            .filter_map(|path| path.filename().map(str::to_owned))
            .collect())
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let (store, from, to) = (self.store.clone(), self.path(from)?, self.path(to)?);
        let copied = self.wait(async move { store.copy(&from, &to).await })?;
        copied.map_err(failed)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(key)?);
        match self.wait(async move { store.delete(&path).await })? {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(prefix)?);
        let deleted = self.wait(async move {
            let found = store
                .list(Some(&path))
                .map(|one| one.map(|one| one.location));
            let mut deleted = store.delete_stream(found.boxed());
            while let Some(one) = deleted.next().await {
                match one {
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        deleted.map_err(failed)
    }
}
