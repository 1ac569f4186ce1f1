//! The frozen flag of an array: set once, for ever, and waited for.

use super::{Segment, header_error};
use crate::{
    error::{Error, HeaderError, Result},
    format::words::frozen,
    state::changes::Stripes,
    sys::wait::is_interrupted,
};
use std::{
    sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst},
    time::{Duration, Instant},
};

impl Segment {
    /// Whether the array was frozen. This process remembers it: if the flag were cleared by other
    /// means, a write would fault here, because the mapping may be protected.
    #[inline]
    pub(crate) fn is_frozen(&self) -> bool {
        // A thread that sees the flag reads the elements without a lock.
        let is_frozen = self.was_frozen.load(Acquire) || self.state().is_frozen();
        if is_frozen {
            self.was_frozen.store(true, Release);
        }
        is_frozen
    }

    /// Whether the array may be written: it is not frozen, and the flag that says so is sound.
    #[inline]
    pub(crate) fn may_be_written(&self) -> bool {
        !self.was_frozen.load(Relaxed) && self.state().is_unfrozen()
    }

    /// Why the array may not be written.
    #[cold]
    pub(crate) fn not_writable(&self) -> Error {
        if self.is_frozen() {
            return Error::Frozen {
                path: self.path().into(),
            };
        }
        let found = self.state().frozen.load(SeqCst);
        header_error(self.path(), HeaderError::Frozen { found })
    }

    /// Marks the array as frozen. The caller holds a guard on all of it, exclusively.
    pub(crate) fn freeze(&self) {
        self.state().frozen.store(frozen::FROZEN, SeqCst);
        failpoint!(FreezeFlagged);
        self.state().wake();
        self.state().wake_changed(Stripes::ALL);
        failpoint!(FreezeWoken);
    }

    /// Protects this process's mapping of a frozen array against writing, so that a bug that writes
    /// faults here.
    pub(crate) fn protect(&self) -> Result<()> {
        match self.writable.get() {
            // More rows may be appended.
            Some(_) if self.is_growing() && !self.is_frozen() => Ok(()),
            Some(mapping) => mapping.protect(self.parsed.data_offset..self.file_len(), &self.path),
            None => Ok(()),
        }
    }

    /// Waits until the array is frozen.
    ///
    /// # Errors
    ///
    /// `Abandoned` if the producer's process ended before it froze the array, `Released` if the
    /// array was released; both at once, not after the time. `Timeout` after the time, which began
    /// at `began`.
    pub(crate) fn wait_until_frozen(&self, timeout: Duration, began: Instant) -> Result<()> {
        let deadline = began.checked_add(timeout);
        let outcome = self.state().wait_until(deadline, || {
            failpoint!(FreezeAwaited);
            match self.frozen_or_hopeless().transpose() {
                None if is_interrupted() => Some(Err(Error::Interrupted {
                    path: self.path().into(),
                })),
                outcome => outcome,
            }
        });
        outcome.unwrap_or_else(|_| {
            Err(Error::Timeout {
                path: self.path().into(),
                obstacle: "the array stayed unfrozen",
                waited: timeout,
                holders: Default::default(),
            })
        })
    }

    /// `None` while the array may still be frozen; an error if no process will freeze it.
    fn frozen_or_hopeless(&self) -> Result<Option<()>> {
        if self.is_frozen() {
            return Ok(Some(()));
        }
        self.check_ready()?;
        // A producer that is gone may have frozen the array just before it ended.
        if self.has_producer()? {
            Ok(None)
        } else if self.is_frozen() {
            Ok(Some(()))
        } else {
            Err(Error::Abandoned {
                path: self.path().into(),
                member: self.producer(),
            })
        }
    }

    /// Whether the process that made the array lives.
    pub(crate) fn has_producer(&self) -> Result<bool> {
        self.member.is_alive(self.producer())
    }

    /// The member id of the process that made the array.
    pub(crate) fn producer(&self) -> u64 {
        self.state().producer.load(SeqCst)
    }
}
