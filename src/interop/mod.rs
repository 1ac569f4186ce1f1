//! Between shared arrays and files of other formats: `.npy`, `.npz`, safetensors, and bare
//! elements.
//!
//! Elements go between the file and the mapping in pieces of a few megabytes; no second copy of an
//! array is made. An array is read under one guard, so that a file shows it as it was at one
//! moment; what is imported is a draft that nobody sees before it is complete. A file of another
//! format is never seen half-written. See `docs/design.md`.

#[cfg(feature = "dlpack")]
#[allow(unsafe_code)]
mod dlpack;
mod elements;
mod export;
mod gather;
mod import;
mod literal;
mod npy;
#[cfg(feature = "zip")]
mod npz;
mod output;
#[cfg(feature = "safetensors")]
mod safetensors;

pub use export::Export;

use crate::{element::dtype::DType, error::Error, layout::Order};
use std::{io, path::Path};

/// What is told how far a transfer has come: (bytes done, bytes in all).
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress<'a>(pub(crate) Option<&'a (dyn Fn(u64, u64) + Sync)>);

/// A transfer that is under way.
struct Meter<'a> {
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    fn new(progress: Progress<'a>, total: u64) -> Self {
        Self {
            progress,
            done: 0,
            total,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        if let Some(progress) = self.progress.0 {
            progress(self.done, self.total);
        }
    }
}

/// What a file of another format says of an array.
#[derive(Debug, PartialEq)]
struct Described {
    dtype: DType,
    shape: Vec<usize>,
    order: Order,
    /// What has to be turned round in each element, where the file has the other byte order.
    swaps: Vec<Swap>,
}

/// Numbers of the other byte order in each element: `count` of `width` bytes, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Swap {
    offset: usize,
    width: usize,
    count: usize,
}

/// Why a transfer failed, where the file is not known.
#[derive(Debug)]
enum Failure {
    /// The file is not what it should be.
    Format(String),
    Io(io::Error),
    /// It already says which file it is about.
    Other(Error),
}

impl Failure {
    fn at(self, path: &Path, action: &'static str) -> Error {
        match self {
            Failure::Format(reason) => Error::transfer(path, reason),
            Failure::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Error::transfer(path, "it ends too early")
            }
            Failure::Io(source) => Error::io(path, action)(source),
            Failure::Other(error) => error,
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Format(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Failure::Format(reason.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// The dimensions and the element type of an array as formats without arrays as elements have them:
/// those of `[T; N]` come last.
fn without_subarray(dtype: &DType, shape: &[usize]) -> (DType, Vec<usize>) {
    let (mut dtype, mut shape) = (dtype.clone(), shape.to_vec());
    while dtype.to_string().starts_with('(')
        && let Some((len, part)) = dtype.subarray()
    {
        shape.push(len);
        dtype = part;
    }
    (dtype, shape)
}
