//! How elements are read: under a guard, as atomics, or without a lock.

use crate::elements::scalar::Scalar;
use ndarray::{ArrayD, ArrayRef, IxDyn};
use ndshm::{AnyArray, Error, ReadGuard, SharedArray};
use std::{ops::Deref, time::Duration};

/// The way to read the elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Under guards: each waits for writers as long as the store's time-out allows.
    Locked,
    /// Under guards, and elements that other processes use as atomics as such. The array is open
    /// for writing, as atomics need it.
    Atomic {
        /// The longest wait for readers and writers.
        patience: Duration,
    },
    /// Without a lock: the elements may change meanwhile.
    Unlocked,
    /// From a copy that was made without a lock.
    Copied,
}

/// Elements that were read: under a guard that this keeps, or copied.
pub(crate) enum Elements<T: Scalar> {
    Guarded(ReadGuard<T, IxDyn>),
    Copied(ArrayD<T>),
}

impl<T: Scalar> Deref for Elements<T> {
    type Target = ArrayRef<T, IxDyn>;

    fn deref(&self) -> &ArrayRef<T, IxDyn> {
        match self {
            Self::Guarded(guard) => guard,
            Self::Copied(copy) => copy,
        }
    }
}

impl Reading {
    /// The word for --json.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Atomic { .. } => "atomic",
            Self::Unlocked | Self::Copied => "unlocked",
        }
    }

    /// The words for a person, if the elements may change while they are read.
    pub(crate) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Locked => None,
            Self::Atomic { .. } => Some("as atomics: other processes may change them meanwhile"),
            Self::Unlocked | Self::Copied => {
                Some("without a lock: a snapshot of elements that may change")
            }
        }
    }

    /// The elements of a view.
    pub(crate) fn elements<T: Scalar>(
        self,
        xs: &SharedArray<T, IxDyn>,
    ) -> ndshm::Result<Elements<T>> {
        match self {
            Self::Unlocked => xs.to_ndarray_unlocked().map(Elements::Copied),
            Self::Locked | Self::Copied => xs.read().map(Elements::Guarded),
            Self::Atomic { patience } => match xs.try_read() {
                Err(Error::WouldBlock { .. }) => match T::load(xs, patience) {
                    Some(copy) => copy.map(Elements::Copied),
                    None => xs.read().map(Elements::Guarded),
                },
                read => read.map(Elements::Guarded),
            },
        }
    }

    /// The bytes of the elements of a view, in C order.
    pub(crate) fn bytes(self, array: &AnyArray) -> ndshm::Result<Vec<u8>> {
        match self {
            Self::Unlocked => array.read_bytes_unlocked(),
            Self::Locked | Self::Copied => array.read_bytes(),
            Self::Atomic { .. } => ndshm::dispatch!(
                array,
                xs: T => self.elements(&xs)?.iter().flat_map(|x| x.to_bytes()).collect(),
                else => array.read_bytes()?
            ),
        }
    }
}
