//! Several guards at once, in one order for all processes.
//!
//! # Why no deadlock
//!
//! Two threads that take the same guards in opposite orders wait for each other for ever. [`lock`]
//! takes its guards in an order that every process computes alike: by the store's id, the array's
//! id, the first and the last byte of the view, readers before writers. Threads that take all of
//! their guards by `lock` therefore never wait in a circle. A thread that holds a guard already and
//! calls `lock` is outside of this order.
//!
//! # All or none
//!
//! A refusal, poison, a time-out or a panic gives back in reverse order what was taken so far.
//!
//! One of the modules with unsafe code: a [`Reading`] or [`Writing`] keeps a layout and the span of
//! its bytes together, and the lock on that span becomes a guard over that layout.

use crate::{
    array::{
        core::{Core, ElementType},
        guard::{ReadGuard, WriteGuard},
        lock::{Access, Lock},
        open_array::OpenArray,
    },
    element::Element,
    error::{Error, Result},
    format::id::ArrayId,
    layout::{Layout, span::Span},
    sys::wait::Wait,
};
use ndarray::Dimension;
use std::{
    fmt,
    marker::PhantomData,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A read guard to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::reading`](crate::SharedArray::reading) and
/// [`AnyArray::reading`](crate::AnyArray::reading).
pub struct Reading<T: Element, D: Dimension> {
    wanted: Wanted,
    layout: Layout<D>,
    element: PhantomData<T>,
}

/// A write guard to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::writing`](crate::SharedArray::writing) and
/// [`AnyArray::writing`](crate::AnyArray::writing).
pub struct Writing<T: Element, D: Dimension> {
    wanted: Wanted,
    /// Why the view cannot be written, if so: an error of the call that locks.
    refusal: Option<Error>,
    layout: Layout<D>,
    element: PhantomData<T>,
}

/// One lock of several, whatever the type of its elements.
#[derive(Clone)]
struct Wanted {
    array: Arc<OpenArray>,
    span: Span,
    access: Access,
}

impl Wanted {
    /// The place in the order of all locks.
    fn place(&self) -> (Uuid, ArrayId, u64, u64, bool) {
        (
            self.array.member().page().uuid(),
            self.array.header().id,
            self.span.start,
            self.span.end,
            self.access == Access::Write,
        )
    }

    /// Whether no thread can have this lock and the other one at once.
    fn excludes(&self, other: &Self) -> bool {
        self.array.header().id == other.array.header().id
            && (self.access == Access::Write || other.access == Access::Write)
            && self.span.overlaps(&other.span)
    }
}

impl<K: ElementType, D: Dimension> Core<K, D> {
    pub(in crate::array) fn reading(&self) -> Reading<K::Unit, K::GuardDim<D>> {
        Reading {
            wanted: self.wanted(Access::Read),
            layout: self.element_type.guard_layout(&self.layout).into_owned(),
            element: PhantomData,
        }
    }

    pub(in crate::array) fn writing(&self) -> Writing<K::Unit, K::GuardDim<D>> {
        Writing {
            wanted: self.wanted(Access::Write),
            refusal: self.check_writable().err(),
            layout: self.element_type.guard_layout(&self.layout).into_owned(),
            element: PhantomData,
        }
    }

    fn wanted(&self, access: Access) -> Wanted {
        Wanted {
            array: self.opened.clone(),
            span: self.span(),
            access,
        }
    }
}

mod sealed {
    /// The locks of a set, and the guards that they become.
    pub trait Locks {
        type Guards;
        /// Adds the locks, or tells why a view cannot be written.
        fn wanted(&mut self, wanted: &mut Vec<super::AnyWanted>) -> crate::Result<()>;
        fn guards(self, locks: &mut super::Taken) -> Self::Guards;
    }
}

/// A lock that is wanted, for the sealed trait.
pub struct AnyWanted(Wanted);

/// The locks that were taken, for the sealed trait.
pub struct Taken(std::vec::IntoIter<Lock>);

impl Taken {
    fn next(&mut self) -> Lock {
        match self.0.next() {
            Some(lock) => lock,
            None => unreachable!("as many locks were taken as were wanted"),
        }
    }
}

/// Guards that [`lock`](crate::lock()) takes together: [`Reading`] and [`Writing`], tuples of up to
/// twelve of them, arrays and vectors of one kind, and tuples, arrays and vectors of these.
pub trait LockSet: sealed::Locks {}

impl<S: sealed::Locks> LockSet for S {}

impl<T: Element, D: Dimension> sealed::Locks for Reading<T, D> {
    type Guards = ReadGuard<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
        wanted.push(AnyWanted(self.wanted.clone()));
        Ok(())
    }

    fn guards(self, locks: &mut Taken) -> ReadGuard<T, D> {
        // SAFETY: the lock was taken to read this array's span, which is that of the layout: both
        // come from one view.
        unsafe { ReadGuard::locked(locks.next(), &self.wanted.array, &self.layout) }
    }
}

impl<T: Element, D: Dimension> sealed::Locks for Writing<T, D> {
    type Guards = WriteGuard<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => {
                wanted.push(AnyWanted(self.wanted.clone()));
                Ok(())
            }
        }
    }

    fn guards(self, locks: &mut Taken) -> WriteGuard<T, D> {
        // SAFETY: the lock was taken to write this array's span, which is that of the layout: both
        // come from one view, which can be written, or `wanted` had refused it.
        unsafe { WriteGuard::locked(locks.next(), &self.wanted.array, &self.layout) }
    }
}

impl<S: sealed::Locks> sealed::Locks for Vec<S> {
    type Guards = Vec<S::Guards>;

    fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
        self.iter_mut().try_for_each(|one| one.wanted(wanted))
    }

    fn guards(self, locks: &mut Taken) -> Vec<S::Guards> {
        self.into_iter().map(|one| one.guards(locks)).collect()
    }
}

impl<S: sealed::Locks, const N: usize> sealed::Locks for [S; N] {
    type Guards = [S::Guards; N];

    fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
        self.iter_mut().try_for_each(|one| one.wanted(wanted))
    }

    fn guards(self, locks: &mut Taken) -> [S::Guards; N] {
        self.map(|one| one.guards(locks))
    }
}

macro_rules! tuples {
    ($(($($one:ident)+))+) => {$(
        #[allow(non_snake_case, reason = "a value is called like its type")]
        impl<$($one: sealed::Locks),+> sealed::Locks for ($($one,)+) {
            type Guards = ($($one::Guards,)+);

            fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
                let ($($one,)+) = self;
                $($one.wanted(wanted)?;)+
                Ok(())
            }

            fn guards(self, locks: &mut Taken) -> Self::Guards {
                let ($($one,)+) = self;
                ($($one.guards(locks),)+)
            }
        }
    )+};
}

tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G) (A B C D E F G H)
    (A B C D E F G H I) (A B C D E F G H I J) (A B C D E F G H I J K) (A B C D E F G H I J K L)
}

/// Takes guards on several views at once, of any arrays of any stores: all of them or none.
///
/// Threads and processes that take their guards by `lock` do not deadlock, in whatever order they
/// name them: the guards are taken in one order that all of them share. Waits for each guard as
/// [`read`](crate::SharedArray::read) and [`write`](crate::SharedArray::write) do, and holds those
/// that it has meanwhile. Returns the guards in the order of the call.
///
/// # Errors
///
/// Those of `read` and `write`; `WouldDeadlock` also where two views of the call share bytes and
/// one of them is to be written. After an error no guard is held.
///
/// # Examples
///
/// ```
/// use ndarray::s;
///
/// let manager = ndshm::Manager::new()?;
/// let rates = manager.ones::<f64, _>(3)?;
/// let sums = manager.zeros::<f64, _>((2, 3))?;
/// let row = sums.slice(s![1, ..])?;
///
/// let (rates, mut row) = ndshm::lock((rates.reading(), row.writing()))?;
/// row.zip_mut_with(&rates, |sum, rate| *sum += rate);
/// drop((rates, row));
/// assert_eq!(sums.read()?.sum(), 3.0);
///
/// let parts = [s![0, ..], s![1, ..]].map(|part| sums.slice(part));
/// let mut wanted = Vec::new();
/// for part in parts {
///     wanted.push(part?.writing());
/// }
/// for mut part in ndshm::lock(wanted)? {
///     part.fill(1.0);
/// }
/// # Ok::<(), ndshm::Error>(())
/// ```
pub fn lock<S: LockSet>(set: S) -> Result<S::Guards> {
    take(set, Wait::Forever)
}

/// [`lock`](crate::lock()) without waiting.
///
/// # Errors
///
/// `WouldBlock` where it would have to wait for one of the guards; those of `lock`.
///
/// # Examples
///
/// ```
/// let manager = ndshm::Manager::new()?;
/// let (xs, ys) = (manager.ones::<f64, _>(3)?, manager.zeros::<f64, _>(3)?);
/// let (read, mut written) = ndshm::try_lock((xs.reading(), ys.writing()))?;
/// written.assign(&read);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub fn try_lock<S: LockSet>(set: S) -> Result<S::Guards> {
    take(set, Wait::Never)
}

/// [`lock`](crate::lock()) that waits no longer than `timeout` for all guards together.
///
/// # Errors
///
/// `Timeout` where one of the guards was not free by then; those of `lock`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let manager = ndshm::Manager::new()?;
/// let (xs, ys) = (manager.ones::<f64, _>(3)?, manager.zeros::<f64, _>(3)?);
/// let [a, b] = ndshm::lock_timeout([xs.reading(), ys.reading()], Duration::from_secs(1))?;
/// assert_eq!(a.sum() + b.sum(), 3.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
pub fn lock_timeout<S: LockSet>(set: S, timeout: Duration) -> Result<S::Guards> {
    take(set, Wait::AtMost(timeout))
}

fn take<S: LockSet>(mut set: S, wait: Wait) -> Result<S::Guards> {
    let mut wanted = Vec::new();
    set.wanted(&mut wanted)?;
    let locks = take_all(&wanted, wait)?;
    Ok(set.guards(&mut Taken(locks.into_iter())))
}

/// The locks in the order in which they are wanted.
fn take_all(wanted: &[AnyWanted], wait: Wait) -> Result<Vec<Lock>> {
    let mut order: Vec<_> = (0..wanted.len()).collect();
    order.sort_by_cached_key(|&index| wanted[index].0.place());
    if let Some(path) = first_conflict(wanted, &order) {
        return Err(Error::WouldDeadlock { path });
    }
    let wait = shortest(wanted, wait);
    let end = match wait {
        Wait::AtMost(time) => Instant::now().checked_add(time),
        _ => None,
    };
    let mut taken = InOrder(Vec::with_capacity(order.len()));
    for index in order {
        let Wanted {
            array,
            span,
            access,
        } = &wanted[index].0;
        let rest = match end {
            Some(end) => Wait::AtMost(end.saturating_duration_since(Instant::now())),
            None => wait,
        };
        match Lock::take(array, *span, *access, rest) {
            Ok(lock) => taken.0.push((index, lock)),
            Err(error) => return Err(with_whole_time(error, wait)),
        }
    }
    let mut locks = std::mem::take(&mut taken.0);
    locks.sort_unstable_by_key(|(index, _)| *index);
    Ok(locks.into_iter().map(|(_, lock)| lock).collect())
}

/// Locks that are given back in the reverse order.
struct InOrder(Vec<(usize, Lock)>);

impl Drop for InOrder {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

/// The array of two locks that exclude each other.
fn first_conflict(wanted: &[AnyWanted], order: &[usize]) -> Option<PathBuf> {
    for (at, &first) in order.iter().enumerate() {
        let first = &wanted[first].0;
        for &second in &order[at + 1..] {
            let second = &wanted[second].0;
            let is_behind = second.array.header().id != first.array.header().id
                || second.span.start >= first.span.end;
            if is_behind {
                break;
            }
            if first.excludes(second) {
                return Some(first.array.path().into());
            }
        }
    }
    None
}

/// The limit of all waits together: the shortest of those that the managers of the stores set.
fn shortest(wanted: &[AnyWanted], wait: Wait) -> Wait {
    let limits = wanted
        .iter()
        .filter_map(|wanted| wanted.0.array.member().settings().lock_timeout());
    match (wait, limits.min()) {
        (Wait::Forever, Some(limit)) => Wait::AtMost(limit),
        (wait, _) => wait,
    }
}

/// A time-out names the time of the whole call.
fn with_whole_time(error: Error, wait: Wait) -> Error {
    match (error, wait) {
        (Error::Timeout { path, obstacle, .. }, Wait::AtMost(waited)) => Error::Timeout {
            path,
            obstacle,
            waited,
        },
        (error, _) => error,
    }
}

impl<T: Element, D: Dimension> fmt::Debug for Reading<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.wanted.array.path();
        f.debug_struct("Reading").field("path", &path).finish()
    }
}

impl<T: Element, D: Dimension> fmt::Debug for Writing<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.wanted.array.path();
        f.debug_struct("Writing").field("path", &path).finish()
    }
}
