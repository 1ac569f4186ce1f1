//! Access to the elements: guards, poison, freezing, flushing.

use super::{Core, ElementType};
use crate::{
    array::{
        changes, frozen,
        guard::{ReadGuard, WriteGuard},
        lock::Access,
        lock_word,
    },
    error::Result,
    sys::wait::Wait,
};
use ndarray::Dimension;
use std::{ops::Range, time::Duration};

impl<K: ElementType, D: Dimension> Core<K, D> {
    #[inline(always)]
    pub(in crate::array) fn read(&self, wait: Wait) -> Result<ReadGuard<K::Unit, K::GuardDim<D>>> {
        let layout = self.element_type.guard_layout(&self.layout);
        ReadGuard::take(&self.opened, &layout, self.span(), wait)
    }

    #[inline(always)]
    pub(in crate::array) fn write(
        &self,
        wait: Wait,
    ) -> Result<WriteGuard<K::Unit, K::GuardDim<D>>> {
        self.check_writable()?;
        let layout = self.element_type.guard_layout(&self.layout);
        WriteGuard::take(&self.opened, &layout, self.span(), Access::Write, wait)
    }

    pub(in crate::array) fn recover(&self) -> Result<WriteGuard<K::Unit, K::GuardDim<D>>> {
        self.check_writable()?;
        let layout = self.element_type.guard_layout(&self.layout);
        let access = self.recovery(true);
        WriteGuard::take(&self.opened, &layout, self.span(), access, Wait::Forever)
    }

    /// Access for a recovery, which clears the poison at once or later.
    pub(in crate::array) fn recovery(&self, clears: bool) -> Access {
        let own_bytes = self.len() * self.element_type.itemsize();
        Access::Recover {
            is_exact: self.span().byte_len() == own_bytes as u64,
            clears,
        }
    }

    pub(in crate::array) fn poisoned(&self) -> Result<Vec<Range<usize>>> {
        self.opened.mark_used();
        lock_word::poisoned(&self.opened, self.span())
    }

    pub(in crate::array) fn is_poisoned(&self) -> Result<bool> {
        Ok(!self.poisoned()?.is_empty())
    }

    pub(in crate::array) fn changed(&self) -> Result<u64> {
        self.opened.mark_used();
        changes::changed(&self.opened, &self.span())
    }

    pub(in crate::array) fn wait_changed(&self, seen: u64, timeout: Duration) -> Result<u64> {
        self.opened.mark_used();
        changes::wait(&self.opened, &self.span(), seen, timeout)
    }

    /// Freezes the whole array. This process may still have the right to write its pages.
    pub(in crate::array) fn freeze(&self) -> Result<()> {
        frozen::freeze(&self.opened, self.is_writable)
    }

    pub(in crate::array) fn flush(&self) -> Result<()> {
        self.opened.mark_used();
        self.opened.flush()
    }
}
