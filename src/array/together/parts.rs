//! The parts of a set: a view each, with the access that is wanted to it.
//!
//! One of the modules with unsafe code: a part keeps a layout and the span of its bytes together,
//! and the lock on that span becomes a guard over that layout.

use super::{
    sets::{Locks, Taken},
    wanted::Wanted,
};
use crate::{
    array::{
        atomic::{AtomicArray, AtomicElement},
        core::{Core, ElementType},
        guard::{ReadGuard, WriteGuard},
        lock::Access,
    },
    element::Element,
    error::{Error, Result},
    layout::Layout,
};
use ndarray::Dimension;
use std::{fmt, marker::PhantomData};

/// A read guard to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::reading`](crate::SharedArray::reading) and
/// [`AnyArray::reading`](crate::AnyArray::reading).
pub struct Reading<T: Element, D: Dimension>(Part<D>, PhantomData<T>);

/// A write guard to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::writing`](crate::SharedArray::writing),
/// [`SharedArray::recovering`](crate::SharedArray::recovering) and those of
/// [`AnyArray`](crate::AnyArray::writing).
pub struct Writing<T: Element, D: Dimension>(Part<D>, PhantomData<T>);

/// A view of atomics to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::updating`](crate::SharedArray::updating).
pub struct Updating<T: AtomicElement, D: Dimension>(Part<D>, PhantomData<T>);

/// A view and the lock on its bytes.
struct Part<D> {
    wanted: Wanted,
    /// Why the view does not allow the access, if so: an error of the call that locks.
    refusal: Option<Error>,
    layout: Layout<D>,
}

impl<D: Dimension> Part<D> {
    fn want(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => {
                wanted.push(self.wanted.clone());
                Ok(())
            }
        }
    }
}

impl<K: ElementType, D: Dimension> Core<K, D> {
    pub(in crate::array) fn reading(&self) -> Reading<K::Unit, K::GuardDim<D>> {
        Reading(self.part_of_guard(Access::Read), PhantomData)
    }

    pub(in crate::array) fn writing(&self) -> Writing<K::Unit, K::GuardDim<D>> {
        Writing(self.part_of_guard(Access::Write), PhantomData)
    }

    pub(in crate::array) fn recovering(&self) -> Writing<K::Unit, K::GuardDim<D>> {
        let access = self.recovery(false);
        Writing(self.part_of_guard(access), PhantomData)
    }

    pub(in crate::array) fn updating<T: AtomicElement>(&self) -> Updating<T, D> {
        Updating(
            self.part_of_set(Access::Atomic, self.layout.clone()),
            PhantomData,
        )
    }

    fn part_of_guard(&self, access: Access) -> Part<K::GuardDim<D>> {
        let layout = self.element_type.guard_layout(&self.layout).into_owned();
        self.part_of_set(access, layout)
    }

    fn part_of_set<L>(&self, access: Access, layout: Layout<L>) -> Part<L> {
        let refusal = match access {
            Access::Read => None,
            Access::Write | Access::Recover { .. } | Access::Atomic => self.check_writable().err(),
        };
        let wanted = Wanted {
            array: self.opened.clone(),
            span: self.span(),
            access,
        };
        Part {
            wanted,
            refusal,
            layout,
        }
    }
}

impl<T: Element, D: Dimension> Locks for Reading<T, D> {
    type Guards = ReadGuard<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        self.0.want(wanted)
    }

    fn guards(self, locks: &mut Taken) -> ReadGuard<T, D> {
        let part = self.0;
        // SAFETY: the lock was taken to read this array's span, which is that of the layout: both
        // come from one view.
        unsafe { ReadGuard::locked(locks.next(), &part.wanted.array, &part.layout) }
    }
}

impl<T: Element, D: Dimension> Locks for Writing<T, D> {
    type Guards = WriteGuard<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        self.0.want(wanted)
    }

    fn guards(self, locks: &mut Taken) -> WriteGuard<T, D> {
        let part = self.0;
        // SAFETY: the lock was taken to write or recover this array's span, which is that of the
        // layout: both come from one view, which can be written, or `want` had refused it.
        unsafe { WriteGuard::locked(locks.next(), &part.wanted.array, &part.layout) }
    }
}

impl<T: AtomicElement, D: Dimension> Locks for Updating<T, D> {
    type Guards = AtomicArray<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<Wanted>) -> Result<()> {
        self.0.want(wanted)
    }

    fn guards(self, locks: &mut Taken) -> AtomicArray<T, D> {
        let part = self.0;
        // SAFETY: the lock was taken for atomic access to this array's span, which is that of the
        // layout: both come from one view of elements of this type, which can be written, or `want`
        // had refused it.
        unsafe { AtomicArray::locked(locks.next(), &part.wanted.array, &part.layout) }
    }
}

impl<D> Part<D> {
    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.wanted.array.path();
        f.debug_struct(name).field("path", &path).finish()
    }
}

impl<T: Element, D: Dimension> fmt::Debug for Reading<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("Reading", f)
    }
}

impl<T: Element, D: Dimension> fmt::Debug for Writing<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("Writing", f)
    }
}

impl<T: AtomicElement, D: Dimension> fmt::Debug for Updating<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe("Updating", f)
    }
}
