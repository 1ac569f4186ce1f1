//! The servers, which `.ci/s3` installs and names by variables.

use ndshm_s3::S3Bucket;
use std::{
    ffi::OsString,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The variable that names the server with conditions.
const HONEST: &str = "NDSHM_S3S_FS";
pub const KEY: &str = "AKIANDSHMTEST";
pub const SECRET: &str = "a-secret-of-the-tests";

/// A server over a directory, ended with the test.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts the program that a variable names; `None` without the variable.
    fn start(
        variable: &str,
        directory: &Path,
        arguments: impl Fn(u16, &Path) -> Vec<OsString>,
    ) -> Option<Self> {
        let Some(program) = std::env::var_os(variable) else {
            eprintln!("skipped: {variable} names no server; .ci/s3 does");
            return None;
        };
        std::fs::create_dir(directory.join("bucket")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(program)
            .args(arguments(port, directory))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    /// Whether there is no server that honours conditions.
    pub fn is_missing() -> bool {
        std::env::var_os(HONEST).is_none()
    }

    /// The server that honours conditions and refuses a wrong secret.
    pub fn honest(directory: &Path) -> Option<Self> {
        Self::start(HONEST, directory, |port, directory| {
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
    pub fn without_conditions(directory: &Path) -> Option<Self> {
        Self::start("NDSHM_RCLONE", directory, |port, directory| {
            let address = format!("127.0.0.1:{port}");
            let key = format!("{KEY},{SECRET}");
            let words = ["serve", "s3", "--addr", &address, "--auth-key", &key];
            let words = words.iter().map(OsString::from);
            words.chain([directory.into()]).collect()
        })
    }

    pub fn bucket(&self, url: &str, secret: &str) -> S3Bucket {
        bucket(self.port, url, secret, &[])
    }
}

/// A place at a server or a proxy. `more` are further settings.
pub fn bucket(port: u16, url: &str, secret: &str, more: &[(&str, &str)]) -> S3Bucket {
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = [
        ("endpoint", endpoint.as_str()),
        ("access_key_id", KEY),
        ("secret_access_key", secret),
        ("region", "us-east-1"),
    ];
    S3Bucket::with_options(url, options.into_iter().chain(more.iter().copied())).unwrap()
}
