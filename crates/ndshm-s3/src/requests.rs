//! The operations of a place, as requests.

use crate::{
    S3Bucket,
    failure::{self, failed},
};
use bytes::Bytes;
use futures_util::StreamExt;
use ndshm::{Bucket, Object, Part, Version};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion, path::Path,
};
use std::{io, time::Duration};
use tokio::{sync::mpsc, task::JoinSet};

/// Bytes of pieces that wake the thread which waits for them.
const BATCH: usize = 256 << 10;
/// Batches that wait for it, at most.
const BATCHES: usize = 4;
/// The time before a request is sent again, at first.
const PAUSE: Duration = Duration::from_millis(100);

impl S3Bucket {
    /// Calls a request that may be done twice, again where its connection was cut and the store did
    /// not repeat it.
    fn repeated<T>(&self, mut request: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        for time in 1..self.attempts {
            match request() {
                Err(error) if failure::is_cut(&error) => {
                    let pause = PAUSE * time.min(10) as u32;
                    let slept = async {
                        tokio::time::sleep(pause).await;
                        Ok(())
                    };
                    self.wait(slept).map_err(failed)?;
                }
                ended => return ended,
            }
        }
        request()
    }

    fn try_put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        let mode = match seen {
            None => PutMode::Create,
            Some(Version(tag)) => PutMode::Update(UpdateVersion {
                e_tag: Some(tag.clone()),
                version: None,
            }),
        };
        let (store, path) = (&self.store, self.path(key)?);
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.wait(async {
            let options = PutOptions::from(mode);
            match store.put_opts(&path, payload.clone(), options).await {
                // The server has no conditions.
                Err(error) if failure::is_not_implemented(&error) => {
                    store.put(&path, payload).await
                }
                put => put,
            }
        });
        match put {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            // An object with a version that is no more.
            Err(Error::NotFound { .. }) if seen.is_some() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn try_get(&self, key: &str) -> io::Result<Option<Object>> {
        let (store, path) = (&self.store, self.path(key)?);
        let got = self.wait(async {
            let result = store.get(&path).await?;
            let tag = result.meta.e_tag.clone();
            Ok((result.bytes().await?, tag))
        });
        match got {
            Ok((bytes, tag)) => Ok(Some(Object {
                bytes: bytes.to_vec(),
                version: Version(tag.unwrap_or_default()),
            })),
            Err(error @ Error::NotFound { .. }) => {
                let error = failed(error);
                match failure::is_without_bucket(&error) {
                    true => Err(error),
                    false => Ok(None),
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Begins to fetch an object in a task of the runtime.
    fn fetch(&self, path: Path, options: GetOptions) -> Batches {
        let (send, received) = mpsc::channel(BATCHES);
        let store = self.store.clone();
        let fetch = async move {
            let mut pieces = match store.get_opts(&path, options).await {
                Ok(result) => result.into_stream(),
                Err(error) => return drop(send.send(Err(error)).await),
            };
            let (mut batch, mut len) = (Vec::new(), 0);
            loop {
                let piece = pieces.next().await;
                let is_last = piece.is_none();
                match piece {
                    Some(Ok(piece)) => {
                        len += piece.len();
                        batch.push(piece);
                    }
                    Some(Err(error)) => return drop(send.send(Err(error)).await),
                    None => {}
                }
                if is_last || len >= BATCH {
                    len = 0;
                    // An error means that the caller gave the request up.
                    if send.send(Ok(std::mem::take(&mut batch))).await.is_err() || is_last {
                        return;
                    }
                }
            }
        };
        let mut task = JoinSet::new();
        if let Some(runtime) = &self.runtime {
            task.spawn_on(fetch, runtime.handle());
        }
        Batches {
            received,
            _task: task,
        }
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
}

/// The bytes of an object that is being fetched. A drop gives the request up.
///
/// A connection hands over pieces of some KiB, and reads no more before each of them is taken. So
/// they are taken by a task beside it, and the thread that waits wakes once for many of them.
struct Batches {
    received: mpsc::Receiver<object_store::Result<Vec<Bytes>>>,
    _task: JoinSet<()>,
}

impl Batches {
    /// The next pieces; `None` at the end.
    async fn next(&mut self) -> Option<object_store::Result<Vec<Bytes>>> {
        self.received.recv().await
    }
}

/// Whether a server answered a request for a range with the whole object, as `rclone serve s3`
/// does. The store tells it by its text alone.
fn is_without_ranges(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::NotSupported { .. })
        && error.to_string().contains("non-partial response")
}

impl Bucket for S3Bucket {
    fn location(&self) -> String {
        self.url.clone()
    }

    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()> {
        self.put_with(key, parts, &mut |_| {})
    }

    fn put_with(
        &self,
        key: &str,
        parts: &[Part<'_>],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let (store, path) = (&self.store, self.path(key)?);
        let payload = self.buffers.payload(parts, seen);
        self.repeated(|| {
            let put = self.wait(store.put(&path, payload.clone()));
            put.map(drop).map_err(failed)
        })
    }

    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool> {
        match self.try_put_if(key, bytes, seen) {
            // The store does not repeat such a request where the connection was cut, because it
            // may have been done. The object tells.
            Err(error) if failure::is_cut(&error) => match self.get(key)? {
                Some(object) if object.bytes == bytes => Ok(true),
                found if found.as_ref().map(|object| &object.version) == seen => {
                    self.try_put_if(key, bytes, seen)
                }
                _ => Ok(false),
            },
            put => put,
        }
    }

    fn get(&self, key: &str) -> io::Result<Option<Object>> {
        self.repeated(|| self.try_get(key))
    }

    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.get_range_with(key, start, into, &mut |_| {})
    }

    fn get_range_with(
        &self,
        key: &str,
        start: u64,
        into: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        let range = GetRange::Bounded(start..start + into.len() as u64);
        let mut batches = self.fetch(self.path(key)?, GetOptions::new().with_range(Some(range)));
        let mut filled = 0;
        let got = loop {
            let batch = match self.wait(async { batches.next().await.transpose() }) {
                Ok(Some(batch)) => batch,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            for piece in batch {
                let end = filled + piece.len();
                if let Some(part) = into.get_mut(filled..end) {
                    part.copy_from_slice(&piece);
                    seen(part);
                }
                filled = end;
            }
            if filled > into.len() {
                break Ok(());
            }
            if ndshm::is_interrupted() {
                break Err(failure::given_up());
            }
        };
        match got {
            Err(error) if filled == 0 && is_without_ranges(&error) => {
                self.get_part_of_whole(key, start, into)?;
                seen(into);
                return Ok(());
            }
            got => got.map_err(failed)?,
        }
        if filled > into.len() {
            let reason = "the server sent more bytes than it was asked for";
            return Err(io::Error::other(reason));
        }
        match filled == into.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>> {
        self.repeated(|| {
            let (store, path) = (&self.store, self.path(prefix)?);
            let listed = self.wait(async {
                let mut listed = store.list(Some(&path));
                let mut all = Vec::new();
                while let Some(one) = listed.next().await {
                    all.push(one?);
                }
                Ok(all)
            });
            let listed = listed.map_err(failed)?.into_iter();
            Ok(listed
                .map(|one| (self.key(&one.location), one.size))
                .collect())
        })
    }

    fn children(&self, prefix: &str) -> io::Result<Vec<String>> {
        self.repeated(|| {
            let (store, path) = (&self.store, self.path(prefix)?);
            let listed = self.wait(async { store.list_with_delimiter(Some(&path)).await });
            let listed = listed.map_err(failed)?;
            let objects = listed.objects.iter().map(|object| &object.location);
            let paths = listed.common_prefixes.iter().chain(objects);
            Ok(paths
                .filter_map(|path| path.filename().map(str::to_owned))
                .collect())
        })
    }

    fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        self.repeated(|| {
            let (store, from, to) = (&self.store, self.path(from)?, self.path(to)?);
            let copied = self.wait(async { store.copy(&from, &to).await });
            copied.map_err(failed)
        })
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.repeated(|| {
            let (store, path) = (&self.store, self.path(key)?);
            match self.wait(store.delete(&path)) {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(failed(error)),
            }
        })
    }

    fn delete_all(&self, prefix: &str) -> io::Result<()> {
        self.repeated(|| {
            let (store, path) = (&self.store, self.path(prefix)?);
            let deleted = self.wait(async {
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
            });
            deleted.map_err(failed)
        })
    }
}
