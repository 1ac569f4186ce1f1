//! A mutex and a cell that no fork finds locked: their critical sections hold the gate.

use super::GATE;
use std::{
    ops::{Deref, DerefMut},
    sync::{
        Mutex as StdMutex, MutexGuard as StdMutexGuard, OnceLock as StdOnceLock, PoisonError,
        RwLockReadGuard,
    },
};

/// A mutex that no fork finds locked. For short sections only: no waiting, no calls to user code,
/// and never two at once.
pub(crate) struct Mutex<T>(StdMutex<T>);

/// Access to the value of a locked [`Mutex`].
pub(crate) struct Guard<'a, T> {
    // Drop order: the mutex first, then the gate.
    value: StdMutexGuard<'a, T>,
    _gate: RwLockReadGuard<'static, ()>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
        Guard {
            value: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _gate: gate,
        }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A cell that is set once, and that no fork finds half set. Must not be set while a [`Mutex`] is
/// locked.
pub(crate) struct OnceLock<T>(StdOnceLock<T>);

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self(StdOnceLock::new())
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Sets the value, or returns it if the cell was set before.
    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let _gate = GATE.read().unwrap_or_else(PoisonError::into_inner);
        self.0.set(value)
    }

    /// The value, made now if the cell is empty. Several threads may make a value at once: the
    /// first one to set the cell wins.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let _ = self.set(make());
        match self.get() {
            Some(value) => value,
            None => unreachable!("it was set"),
        }
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.get_mut()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}
