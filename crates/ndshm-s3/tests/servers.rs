//! Checkpoints in real servers on loopback, which `.ci/s3` installs and names by variables.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

use ndarray::Ix1;
use ndshm::{Bucket, Checkpoint, Error, Manager, Part, Restore};
use ndshm_s3::S3Bucket;
use std::{
    ffi::OsString,
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const KEY: &str = "AKIANDSHMTEST";
const SECRET: &str = "a-secret-of-the-tests";

/// A server over a directory, ended with the test.
struct Server {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts the program that a variable names; `None` without the variable.
    fn start(variable: &str, arguments: impl Fn(u16, &Path) -> Vec<OsString>) -> Option<Self> {
        let Some(program) = std::env::var_os(variable) else {
            eprintln!("skipped: {variable} names no server; .ci/s3 does");
            return None;
        };
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bucket")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(program)
            .args(arguments(port, directory.path()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            port,
            _directory: directory,
        };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    /// The server that honours conditions and refuses a wrong secret.
    fn honest() -> Option<Self> {
        Self::start("NDSHM_S3S_FS", |port, directory| {
            let port = port.to_string();
            let words = [
                "--access-key",
                KEY,
                "--secret-key",
                SECRET,
                "--host",
                "127.0.0.1",
                "--port",
                &port,
            ];
            let words = words.iter().map(OsString::from);
            words.chain([directory.into()]).collect()
        })
    }

    /// The server that ignores conditions.
    fn without_conditions() -> Option<Self> {
        Self::start("NDSHM_RCLONE", |port, directory| {
            let address = format!("127.0.0.1:{port}");
            let key = format!("{KEY},{SECRET}");
            let words = ["serve", "s3", "--addr", &address, "--auth-key", &key];
            let words = words.iter().map(OsString::from);
            words.chain([directory.into()]).collect()
        })
    }

    fn bucket(&self, url: &str, secret: &str) -> S3Bucket {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let options = [
            ("endpoint", endpoint.as_str()),
            ("access_key_id", KEY),
            ("secret_access_key", secret),
            ("region", "us-east-1"),
        ];
        S3Bucket::with_options(url, options).unwrap()
    }
}

fn store() -> Manager {
    let manager = Manager::new().unwrap();
    let options = manager.options().name("xs");
    options
        .from_shape_fn::<f64, _>(300_000, |i| i as f64)
        .unwrap();
    manager
        .options()
        .name("50% a/b".replace('/', "-"))
        .ones::<u8, _>(3)
        .unwrap();
    manager
}

fn settings() -> Checkpoint<'static> {
    Checkpoint::new().chunk_len(500_000)
}

fn operations(bucket: &dyn Bucket, compares: bool) {
    assert!(bucket.get("none").unwrap().is_none());
    assert!(bucket.list("").unwrap().is_empty());
    bucket
        .put("a/b", &[Part::Bytes(b"xyz"), Part::Zeros(3)])
        .unwrap();
    assert_eq!(bucket.get("a/b").unwrap().unwrap().bytes, b"xyz\0\0\0");
    let mut part = [0; 2];
    bucket.get_range("a/b", 1, &mut part).unwrap();
    assert_eq!(&part, b"yz");
    let missing = bucket.get_range("a/c", 0, &mut part).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    bucket.copy("a/b", "a/c/d").unwrap();
    let missing = bucket.copy("none", "x").unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let mut listed = bucket.list("a").unwrap();
    listed.sort();
    assert_eq!(listed, [("a/b".to_owned(), 6), ("a/c/d".to_owned(), 6)]);
    assert_eq!(bucket.children("").unwrap(), ["a"]);
    assert!(bucket.put_if("p", b"1", None).unwrap());
    if compares {
        let seen = bucket.get("p").unwrap().unwrap().version;
        assert!(!bucket.put_if("p", b"2", None).unwrap());
        assert!(bucket.put_if("p", b"3", Some(&seen)).unwrap());
        assert!(!bucket.put_if("p", b"4", Some(&seen)).unwrap());
        assert_eq!(bucket.get("p").unwrap().unwrap().bytes, b"3");
    }
    bucket.delete("p").unwrap();
    bucket.delete("p").unwrap();
    bucket.delete_all("a").unwrap();
    assert!(bucket.list("").unwrap().is_empty());
}

fn round_trip(bucket: &dyn Bucket, compares: bool) {
    let manager = store();
    let first = settings().write(&manager, bucket).unwrap();
    assert_eq!((first.is_latest, first.is_compared), (true, compares));
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    xs.write().unwrap()[7] = -1.0;
    let second = settings().keep(1).write(&manager, bucket).unwrap();
    assert_eq!(second.deleted, [first.id]);
    assert!(
        second.sent < 1_000_000 && second.referred > 1_000_000,
        "{second:?}"
    );
    let other = Manager::new().unwrap();
    let restored = Restore::new().read(&other, bucket).unwrap();
    assert_eq!(restored.checkpoint, Some(second.id));
    let found = other.array::<f64, Ix1>("xs").unwrap();
    assert_eq!(found.to_ndarray().unwrap(), xs.to_ndarray().unwrap());
}

#[test]
fn an_honest_server_keeps_checkpoints() {
    let Some(server) = Server::honest() else {
        return;
    };
    operations(&server.bucket("s3://bucket/p/q", SECRET), true);
    round_trip(&server.bucket("s3://bucket/run", SECRET), true);
}

#[test]
fn a_server_without_conditions_keeps_checkpoints_and_is_found_out() {
    let Some(server) = Server::without_conditions() else {
        return;
    };
    operations(&server.bucket("s3://bucket/p/q", SECRET), false);
    round_trip(&server.bucket("s3://bucket/run", SECRET), false);
}

#[test]
fn wrong_credentials_and_buckets_are_clear_errors() {
    let Some(server) = Server::honest() else {
        return;
    };
    let manager = store();
    let refused = settings().write(&manager, &server.bucket("s3://bucket/run", "wrong"));
    let Err(Error::Io { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(source.kind(), ErrorKind::PermissionDenied, "{source}");
    let refused = settings().write(&manager, &server.bucket("s3://none/run", SECRET));
    let Err(Error::Io { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("none"), "{source}");
}

#[test]
fn urls_and_settings_are_checked() {
    for url in ["http://x", "s3://", "s3:///p", "x"] {
        let error = S3Bucket::from_url(url).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    }
    let error = S3Bucket::with_options("s3://b", [("no_such", "x")]);
    assert!(error.map(drop).unwrap_err().to_string().contains("no_such"));
}
