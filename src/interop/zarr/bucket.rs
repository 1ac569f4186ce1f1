//! The place of checkpoints, as few operations on whole objects.

use std::{convert::Infallible, fmt, io};

/// A place for checkpoints: objects of bytes under keys, such as a directory or a bucket of an
/// object store.
///
/// A key is a path of segments with slashes between them, without one at its start, relative to the
/// place. [`DirectoryBucket`](crate::DirectoryBucket) is the implementation of this crate;
/// [`Checkpoint`](crate::Checkpoint) and [`Restore`](crate::Restore) call it from several threads.
///
/// An operation that waits for long should ask [`is_interrupted`](crate::is_interrupted) meanwhile:
/// the call that it works for may have failed elsewhere, or ended by a Ctrl-C.
///
/// # Examples
///
/// ```
/// use ndshm::{Bucket, DirectoryBucket, Part};
///
/// # let scratch = tempfile::tempdir().unwrap();
/// let bucket = DirectoryBucket::new(scratch.path().join("checkpoints"));
/// bucket.put("a/b", &[Part::Bytes(b"xyz"), Part::Zeros(2)])?;
/// assert_eq!(bucket.get("a/b")?.unwrap().bytes, b"xyz\0\0");
/// let mut middle = [0; 2];
/// bucket.get_range("a/b", 1, &mut middle)?;
/// assert_eq!(&middle, b"yz");
/// assert_eq!(bucket.children("")?, ["a"]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Bucket: Send + Sync {
    /// The name of the place in messages: a path or a URL.
    fn location(&self) -> String;

    /// Writes an object of these parts, one after another. It appears whole or not at all, and
    /// replaces an object of this key.
    ///
    /// # Errors
    ///
    /// Those of the place. Its text is shown to the user.
    fn put(&self, key: &str, parts: &[Part<'_>]) -> io::Result<()>;

    /// [`put`](Self::put) that shows `seen` all bytes of the object, in pieces and in order, each
    /// byte once. A place that shows a piece while it is in the processor's caches spares a second
    /// pass over the memory, which the checksums would take.
    ///
    /// # Errors
    ///
    /// Those of `put`.
    fn put_with(
        &self,
        key: &str,
        parts: &[Part<'_>],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let Ok(()) = pieces::<Infallible>(parts, |piece| {
            seen(piece);
            Ok(())
        });
        self.put(key, parts)
    }

    /// Writes an object only if it is still in the version that the caller saw: `None` for no
    /// object. Returns whether it was written.
    ///
    /// A place that cannot compare writes always; [`Checkpoint`](crate::Checkpoint) finds that out
    /// by a trial.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    fn put_if(&self, key: &str, bytes: &[u8], seen: Option<&Version>) -> io::Result<bool>;

    /// All bytes of an object, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the place.
    fn get(&self, key: &str) -> io::Result<Option<Object>>;

    /// Fills `into` with the bytes of an object from `start` on.
    ///
    /// # Errors
    ///
    /// `NotFound` without an object; `UnexpectedEof` where it ends before.
    fn get_range(&self, key: &str, start: u64, into: &mut [u8]) -> io::Result<()>;

    /// [`get_range`](Self::get_range) that shows `seen` all bytes, in pieces and in order, each
    /// byte once.
    ///
    /// # Errors
    ///
    /// Those of `get_range`. Some bytes may have been shown then.
    fn get_range_with(
        &self,
        key: &str,
        start: u64,
        into: &mut [u8],
        seen: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        self.get_range(key, start, into)?;
        seen(into);
        Ok(())
    }

    /// All objects whose keys begin with `prefix` and a slash, with their lengths in bytes, in any
    /// order. An empty prefix is the whole place.
    ///
    /// # Errors
    ///
    /// Those of the place. No objects are no error.
    fn list(&self, prefix: &str) -> io::Result<Vec<(String, u64)>>;

    /// The next segments of the keys that begin with `prefix` and a slash, each once, in any order.
    ///
    /// # Errors
    ///
    /// Those of [`list`](Self::list).
    fn children(&self, prefix: &str) -> io::Result<Vec<String>>;

    /// Makes a second object with the bytes of the first without sending them.
    ///
    /// # Errors
    ///
    /// `NotFound` without the first; those of the place.
    fn copy(&self, from: &str, to: &str) -> io::Result<()>;

    /// Deletes an object, if there is one.
    ///
    /// # Errors
    ///
    /// Those of the place.
    fn delete(&self, key: &str) -> io::Result<()>;

    /// Deletes all objects whose keys begin with `prefix` and a slash.
    ///
    /// # Errors
    ///
    /// Those of the place. Some objects may be gone then.
    fn delete_all(&self, prefix: &str) -> io::Result<()>;

    /// Returns when all that was put below `prefix` outlives a power loss.
    ///
    /// # Errors
    ///
    /// Those of the place.
    fn sync(&self, prefix: &str) -> io::Result<()> {
        let _ = prefix;
        Ok(())
    }
}

/// A part of an object's bytes.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Part<'_> {
    /// The number of its bytes.
    pub fn byte_len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }
}

impl fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Zeros(len) => write!(f, "Zeros({len})"),
        }
    }
}

/// The version of an object, as its place tells versions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// An object of a [`Bucket`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// The version that has these bytes.
    pub version: Version,
}

/// Zeros for the end of the last chunk of an array.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// Bytes of a piece, which stays in the cache of a core from one use to the next.
pub(super) const PIECE: usize = 256 << 10;

/// Calls a function with the pieces of so many zeros.
pub(super) fn zeros<E>(len: u64, mut put: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut left = len;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        put(&ZEROS[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}

/// Calls a function with the pieces of these parts.
pub(super) fn pieces<E>(
    parts: &[Part<'_>],
    mut put: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    parts.iter().try_for_each(|part| match part {
        Part::Bytes(bytes) => bytes.chunks(PIECE).try_for_each(&mut put),
        Part::Zeros(len) => zeros(*len, &mut put),
    })
}
