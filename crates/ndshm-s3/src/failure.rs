//! Errors of the store: their kinds, and what to do.

use object_store::Error;
use std::{fmt, io};

/// The reason of a request that was given up, because the call ended that waited for it.
#[derive(Debug)]
struct GivenUp;

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was given up, because the call that waited for it was interrupted")
    }
}

impl std::error::Error for GivenUp {}

/// The error of a request that was given up.
pub(crate) fn given_up() -> Error {
    Error::Generic {
        store: "S3",
        source: Box::new(GivenUp),
    }
}

/// An error of the store, with the kinds that callers look at, and with advice.
pub(crate) fn failed(error: Error) -> io::Error {
    if let Error::Generic { source, .. } = &error
        && source.is::<GivenUp>()
    {
        return io::Error::new(io::ErrorKind::Interrupted, GivenUp);
    }
    let text = whole_text(&error);
    let is_full = FULL.iter().any(|code| has_code(&text, code)) || status(&text) == Some(507);
    let (kind, advice) = match &error {
        _ if is_full => (io::ErrorKind::StorageFull, MAKE_ROOM),
        _ if has_code(&text, "NoSuchBucket") => (
            io::ErrorKind::NotFound,
            "make the bucket first, or correct its name",
        ),
        Error::NotFound { .. } => return io::Error::new(io::ErrorKind::NotFound, text),
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            return io::Error::new(io::ErrorKind::AlreadyExists, text);
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (
            io::ErrorKind::PermissionDenied,
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may read, write, \
             list and delete there",
        ),
        _ => of_status(status(&text)),
    };
    io::Error::new(kind, format!("{}; {advice}", text.trim_end()))
}

/// All of the chain in one line: the status and the server's reason are at its end.
fn whole_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// The kind and the advice of an error that the store does not tell apart.
fn of_status(status: Option<u16>) -> (io::ErrorKind, &'static str) {
    match status {
        Some(429 | 500..) => (
            io::ErrorKind::Other,
            "the server fails, and its log may say why; run it again later: a checkpoint sends \
             only what is missing then",
        ),
        Some(_) => (
            io::ErrorKind::Other,
            "the server refuses the request: check the URL, AWS_REGION and AWS_ENDPOINT_URL",
        ),
        None => (
            io::ErrorKind::ConnectionAborted,
            "there is no whole answer of the server: check AWS_ENDPOINT_URL and the connection, \
             and run it again: a checkpoint sends only what is missing then",
        ),
    }
}

/// The codes of servers that have no room, or may not use it.
const FULL: [&str; 4] = [
    "InsufficientStorage",
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
];

const MAKE_ROOM: &str = "the server has no room: delete old checkpoints, or give it more, and run \
                         it again: a checkpoint sends only what is missing then";

/// Whether the connection ended before the answer, at a request that the store did not repeat: one
/// that may have been done, or whose answer was an error.
pub(crate) fn is_cut(error: &io::Error) -> bool {
    let text = error.to_string();
    // A request that took all of its time would take it again.
    error.kind() == io::ErrorKind::ConnectionAborted
        && !text.contains(" retries, ")
        && !text.contains("timed out")
}

/// Whether the server does not know a part of the request.
pub(crate) fn is_not_implemented(error: &Error) -> bool {
    matches!(error, Error::NotImplemented { .. }) || status(&whole_text(error)) == Some(501)
}

/// Whether an object was not found because there is no bucket.
pub(crate) fn is_without_bucket(error: &io::Error) -> bool {
    has_code(&error.to_string(), "NoSuchBucket")
}

/// The status of the server's answer, which the store has in its text alone.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.rsplit_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Whether the server's answer has this code.
fn has_code(text: &str, code: &str) -> bool {
    text.contains(&format!("<Code>{code}</Code>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_given_up_is_interrupted_and_not_repeated() {
        let error = failed(given_up());
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(!is_cut(&error));
    }

    #[test]
    fn errors_have_kinds_and_advice_by_their_status_and_code() {
        let text = |status: &str, code: &str| {
            format!(
                "PUT http://x - Server returned non-2xx status code: {status}: <Code>{code}</Code>"
            )
        };
        for (text, kind, advice) in [
            (
                text("507 Insufficient Storage", ""),
                io::ErrorKind::StorageFull,
                "delete old checkpoints",
            ),
            (
                text("403 Forbidden", "QuotaExceeded"),
                io::ErrorKind::StorageFull,
                "delete old checkpoints",
            ),
            (
                text("503 Slow Down", "SlowDown"),
                io::ErrorKind::Other,
                "again later",
            ),
            (
                text("404 Not Found", "NoSuchBucket"),
                io::ErrorKind::NotFound,
                "make the bucket",
            ),
            (
                text("400 Bad Request", "InvalidRequest"),
                io::ErrorKind::Other,
                "AWS_REGION",
            ),
            (
                "error sending request: connection refused".into(),
                io::ErrorKind::ConnectionAborted,
                "AWS_ENDPOINT_URL",
            ),
        ] {
            let error = failed(Error::Generic {
                store: "S3",
                source: text.clone().into(),
            });
            assert_eq!(error.kind(), kind, "{text}");
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(is_cut(&error), kind == io::ErrorKind::ConnectionAborted);
        }
    }
}
