//! Checkpoints of ndshm in S3 and the object stores that speak its protocol.
//!
//! [`S3Bucket`] is a place for [`ndshm::Checkpoint`] and [`ndshm::Restore`]. Its connections
//! are served by threads of its own, so it can be used inside of any runtime and without one.
//!
//! ```no_run
//! use ndshm_s3::S3Bucket;
//!
//! let bucket = S3Bucket::from_url("s3://bucket/run")?;
//! let manager = ndshm::Manager::open("/data/store")?;
//! ndshm::Checkpoint::new().keep(3).write(&manager, &bucket)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This file has the settings of a place, `requests` its operations, `payload` the memory of what
//! is sent, and `failure` the errors.

mod failure;
mod payload;
mod requests;

use object_store::{
    ClientOptions, ObjectStore, Result, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use payload::Buffers;
use std::{
    future::Future,
    io,
    num::NonZero,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// The longest time of a request: that of a chunk over a slow connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a thread that waits for a request looks whether its call was interrupted.
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);
/// Threads that serve the connections, at most. One moves about a GiB each second; more than half
/// of the processors would be in the way of the threads that copy.
const MOST_THREADS: usize = 8;
/// The variables that name the server, with the protocol.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// The setting, and the end of the variable, for the requests that one may become.
const MAX_ATTEMPTS: &str = "max_attempts";

/// A prefix in a bucket of S3, or of another server with its protocol.
///
/// Requests that fail for a time (500, 503, a cut connection) are repeated up to ten times, for up
/// to three minutes. A request itself may take five minutes. An interrupt of the call
/// ([`ndshm::set_interrupt_check`]) ends its requests at once.
pub struct S3Bucket {
    store: Arc<dyn ObjectStore>,
    /// Without slashes at its ends.
    prefix: String,
    url: String,
    /// Taken by `drop`.
    runtime: Option<Runtime>,
    /// How often a request is sent at most.
    attempts: usize,
    buffers: Buffers,
}

impl S3Bucket {
    /// The place of a URL, `s3://BUCKET/PREFIX`.
    ///
    /// The server, the region and the credentials come from the variables that AWS's own tools
    /// read: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
    /// `AWS_ENDPOINT_URL`; else from the machine, where it is one of AWS's. `AWS_MAX_ATTEMPTS` is
    /// how often a request is sent at most. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the URL or a variable cannot be used.
    pub fn from_url(url: &str) -> io::Result<Self> {
        Self::with_options(url, [])
    }

    /// [`from_url`](Self::from_url) with settings that go before the variables, by the names of
    /// these without `AWS_` and in small letters: `endpoint`, `region`, `access_key_id`,
    /// `secret_access_key`, `max_attempts`, `timeout` and `connect_timeout` (`"30 seconds"`), ...
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
        let mut attempts = std::env::var("AWS_MAX_ATTEMPTS").ok();
        let mut builder = AmazonS3Builder::from_env();
        if let Some(endpoint) = &endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let mut client = client_of_variables();
        for (name, value) in options {
            if name == MAX_ATTEMPTS {
                attempts = Some(value.to_owned());
                continue;
            }
            let key: AmazonS3ConfigKey = name
                .parse()
                .map_err(|_| invalid(format!("there is no setting {name:?}")))?;
            match key {
                AmazonS3ConfigKey::Client(key) => client = client.with_config(key, value),
                key => {
                    if key == AmazonS3ConfigKey::Endpoint {
                        endpoint = Some(value.to_owned());
                    }
                    builder = builder.with_config(key, value);
                }
            }
        }
        // A server without TLS is the user's choice, in the URL of the server.
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            client = client.with_allow_http(true);
        }
        let mut retries = RetryConfig::default();
        if let Some(attempts) = attempts {
            let number: usize = attempts.parse().ok().filter(|&n| n > 0).ok_or_else(|| {
                invalid(format!(
                    "{MAX_ATTEMPTS} is {attempts:?}, expected a number from 1"
                ))
            })?;
            retries.max_retries = number - 1;
        }
        let max_retries = retries.max_retries;
        let store = builder
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retries)
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let prefix = prefix.trim_matches('/').to_owned();
        Path::parse(&prefix).map_err(|error| invalid(error.to_string()))?;
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (processors / 2).clamp(1, MOST_THREADS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("ndshm-s3")
            .enable_all()
            .build()?;
        Ok(Self {
            store: Arc::new(store),
            prefix,
            url: url.trim_end_matches('/').to_owned(),
            runtime: Some(runtime),
            attempts: max_retries + 1,
            buffers: Buffers::default(),
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

    /// Waits for a request in the calling thread; its connections are served by those of this
    /// place. Unlike the runtime's own way to wait, it may be called inside of another runtime.
    /// An interrupt of the call ends it, and gives up the request.
    fn wait<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut context = Context::from_waker(&waker);
        let mut request = pin!(request);
        let begun = Instant::now();
        loop {
            match request.as_mut().poll(&mut context) {
                Poll::Ready(ended) => return ended,
                Poll::Pending => thread::park_timeout(BETWEEN_CHECKS),
            }
            if begun.elapsed() >= BETWEEN_CHECKS && ndshm::is_interrupted() {
                return Err(failure::given_up());
            }
        }
    }
}

impl Drop for S3Bucket {
    /// Waits for nothing, so that it may be called inside of another runtime.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The settings of connections, with those of the variables.
fn client_of_variables() -> ClientOptions {
    let mut client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT);
    for (name, value) in std::env::vars_os() {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
            && name.starts_with("AWS_")
            && let Ok(AmazonS3ConfigKey::Client(key)) = name.to_ascii_lowercase().parse()
        {
            client = client.with_config(key, value);
        }
    }
    client
}
