//! Several guards at once, in one order for all processes.
//!
//! # Why no deadlock
//!
//! Two threads that take the same guards in opposite orders wait for each other for ever. [`lock`]
//! takes its guards in an order that every process computes alike: by the store's id, the array's
//! id, the first and the last byte of the view, readers before writers. Views whose first and last
//! bytes do not interleave have such an order by their first bytes. Others have none: of two sets
//! of columns, each may have the first byte of the other one's second column before its own.
//!
//! So the views of an array whose ranges overlap are a *knot*. The knots are taken in the order,
//! and the locks of a knot all or none: the thread waits for one of them while it holds none of the
//! knot, and then only tries the others. Where one is not free, it gives those that it has back,
//! and waits for that one first. Threads that take all of their guards by `lock` therefore never
//! wait in a circle. A thread that holds a guard already and calls `lock` is outside of this order.
//!
//! Streams of other guards may keep the parts of a knot from ever being free at once. So after some
//! rounds in vain the thread keeps what it has while it waits for the next part, for a time that
//! doubles with each round. Two threads that do so may wait for each other, until the shorter of
//! these times is over; they are random.
//!
//! A writer that waits for a lock of the set keeps out no further lock of the set on its array: it
//! has to wait for all of them anyway.
//!
//! # All or none
//!
//! A refusal, poison, a time-out or a panic gives back in reverse order what was taken so far.
//!
//! One of the modules with unsafe code: a [`Reading`], [`Writing`] or [`Updating`] keeps a layout
//! and the span of its bytes together, and the lock on that span becomes a guard over that layout.

use crate::{
    array::{
        atomic::{AtomicArray, AtomicElement},
        core::{Core, ElementType},
        guard::{ReadGuard, WriteGuard},
        holder::Holders,
        lock::{self, Access, Lock},
        open_array::OpenArray,
    },
    element::Element,
    error::{Error, Result},
    format::id::ArrayId,
    layout::{Layout, span::Span},
    segment::Segment,
    sys::{
        fork, process,
        wait::{Deadline, Wait},
    },
};
use ndarray::Dimension;
use std::{
    ffi::OsStr,
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

type Place<'a> = (Uuid, ArrayId, Option<&'a OsStr>, u64, u64, bool);

/// A view of atomics to be taken with others: by [`lock`](crate::lock()). Given by
/// [`SharedArray::updating`](crate::SharedArray::updating).
pub struct Updating<T: AtomicElement, D: Dimension> {
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
    /// The place in the order of all locks. Copies of a file in a store have one id, and other
    /// names.
    fn place(&self) -> Place<'_> {
        (
            self.array.member().page().uuid(),
            self.array.header().id,
            self.array.path().file_name(),
            self.span.start,
            self.span.end,
            self.access == Access::Write,
        )
    }

    /// Whether both are on one file. A process has one segment of it.
    fn is_beside(&self, other: &Self) -> bool {
        let segment = |wanted: &Self| -> *const Segment { &**wanted.array };
        std::ptr::eq(segment(self), segment(other))
    }

    /// Whether no thread can have this lock and the other one at once.
    fn excludes(&self, other: &Self) -> bool {
        self.is_beside(other)
            && (self.access != other.access || self.access == Access::Write)
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

    pub(in crate::array) fn updating<T: AtomicElement>(&self) -> Updating<T, D> {
        Updating {
            wanted: self.wanted(Access::Atomic),
            refusal: self.check_writable().err(),
            layout: self.layout.clone(),
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

/// Guards that [`lock`](crate::lock()) takes together: [`Reading`], [`Writing`] and [`Updating`],
/// tuples of up to twelve of them, arrays and vectors of one kind, and tuples, arrays and vectors
/// of these.
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

impl<T: AtomicElement, D: Dimension> sealed::Locks for Updating<T, D> {
    type Guards = AtomicArray<T, D>;

    fn wanted(&mut self, wanted: &mut Vec<AnyWanted>) -> Result<()> {
        match self.refusal.take() {
            Some(refusal) => Err(refusal),
            None => {
                wanted.push(AnyWanted(self.wanted.clone()));
                Ok(())
            }
        }
    }

    fn guards(self, locks: &mut Taken) -> AtomicArray<T, D> {
        // SAFETY: the lock was taken for atomic access to this array's span, which is that of the
        // layout: both come from one view of elements of this type, which can be written, or
        // `wanted` had refused it.
        unsafe { AtomicArray::locked(locks.next(), &self.wanted.array, &self.layout) }
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
/// that it has meanwhile. Of views of one array that interleave, such as columns, it waits for one
/// while it holds no other. Returns the guards in the order of the call.
///
/// # Errors
///
/// Those of `read`, `write` and `atomic`; `WouldDeadlock` also where two views of the call share
/// bytes and are neither both read nor both atomic. After an error no guard is held.
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
        return Err(Error::WouldDeadlock {
            path,
            holders: Holders::default(),
        });
    }
    let wait = shortest(wanted, wait);
    let deadline = wait.begin();
    loop {
        let generation = fork::generation();
        let mut taken = InOrder(Vec::with_capacity(order.len()));
        let mut rest = &order[..];
        while !rest.is_empty() {
            let (knot, behind) = rest.split_at(knot_len(wanted, rest));
            taken
                .take_knot(wanted, knot, &deadline)
                .map_err(|error| with_whole_time(error, wait))?;
            rest = behind;
        }
        // A child that the caller's check forked has its parent's locks of before: not its own.
        if generation == fork::generation() {
            let mut locks = std::mem::take(&mut taken.0);
            locks.sort_unstable_by_key(|(index, _)| *index);
            return Ok(locks.into_iter().map(|(_, lock)| lock).collect());
        }
    }
}

/// How many of the first locks belong to one knot: they are on one array, and the range of each
/// overlaps that of those before it.
fn knot_len(wanted: &[AnyWanted], order: &[usize]) -> usize {
    let first = &wanted[order[0]].0;
    let mut end = first.span.end;
    let is_in_knot = |&&index: &&usize| {
        let next = &wanted[index].0;
        let is_in = next.is_beside(first) && next.span.start < end;
        end = end.max(next.span.end);
        is_in
    };
    1 + order[1..].iter().take_while(is_in_knot).count()
}

/// Locks that are given back in the reverse order.
struct InOrder(Vec<(usize, Lock)>);

/// How often a thread gives back what it has of a knot before it keeps that for a while.
const ROUNDS_AT_ONCE: u32 = 8;
/// The longest time for which it keeps it in the first round after these, and in any.
const FIRST_STAY: Duration = Duration::from_millis(1);
const LONGEST_STAY: Duration = Duration::from_secs(1);

impl InOrder {
    /// Takes the locks of a knot, or adds none of them.
    fn take_knot(
        &mut self,
        wanted: &[AnyWanted],
        knot: &[usize],
        deadline: &Deadline,
    ) -> Result<()> {
        let (before, mut first) = (self.0.len(), knot[0]);
        for round in 0.. {
            // Holding none of the knot.
            self.take(wanted, first, deadline.rest())?;
            let mut others = knot.iter().copied().filter(|&index| index != first);
            let blocked = others.find_map(|index| {
                let stay = shorter(stay(round), deadline.rest());
                Some((index, self.take(wanted, index, stay).err()?))
            });
            first = match blocked {
                None => break,
                Some((
                    index,
                    Error::WouldBlock { path, holders } | Error::Timeout { path, holders, .. },
                )) => {
                    if deadline.instant().is_some_and(|end| Instant::now() >= end) {
                        return Err(lock::held(&path, deadline, holders));
                    }
                    index
                }
                Some((_, error)) => return Err(error),
            };
            self.give_back_to(before);
        }
        Ok(())
    }

    fn take(&mut self, wanted: &[AnyWanted], index: usize, wait: Wait) -> Result<()> {
        let one = &wanted[index].0;
        let has_companions = (self.0.iter()).any(|(taken, _)| wanted[*taken].0.is_beside(one));
        let lock = Lock::take_with(&one.array, one.span, one.access, wait, has_companions)?;
        self.0.push((index, lock));
        Ok(())
    }

    fn give_back_to(&mut self, count: usize) {
        while self.0.len() > count {
            if let Some((_, lock)) = self.0.pop() {
                lock.give_back();
            }
        }
    }
}

impl Drop for InOrder {
    fn drop(&mut self) {
        self.give_back_to(0);
    }
}

/// How long a thread that has a part of a knot waits for the next one: at least half of a time that
/// doubles with each round, and at most all of it.
fn stay(round: u32) -> Wait {
    let Some(doublings) = round.checked_sub(ROUNDS_AT_ONCE) else {
        return Wait::Never;
    };
    let longest = FIRST_STAY
        .saturating_mul(1 << doublings.min(16))
        .min(LONGEST_STAY);
    let random = process::random_uuid().map_or(0, |id| id.as_fields().0);
    let part = f64::from(random) / f64::from(u32::MAX);
    Wait::AtMost(longest.mul_f64(0.5 + part / 2.0))
}

fn shorter(one: Wait, other: Wait) -> Wait {
    match (one, other) {
        (Wait::AtMost(one), Wait::AtMost(other)) => Wait::AtMost(one.min(other)),
        (Wait::Never, _) | (_, Wait::Never) => Wait::Never,
        (Wait::AtMost(time), Wait::Forever) | (Wait::Forever, Wait::AtMost(time)) => {
            Wait::AtMost(time)
        }
        (Wait::Forever, Wait::Forever) => Wait::Forever,
    }
}

/// The array of two locks that exclude each other.
fn first_conflict(wanted: &[AnyWanted], order: &[usize]) -> Option<PathBuf> {
    for (at, &first) in order.iter().enumerate() {
        let first = &wanted[first].0;
        for &second in &order[at + 1..] {
            let second = &wanted[second].0;
            let is_behind = !second.is_beside(first) || second.span.start >= first.span.end;
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
        (
            Error::Timeout {
                path,
                obstacle,
                holders,
                ..
            },
            Wait::AtMost(waited),
        ) => Error::Timeout {
            path,
            obstacle,
            waited,
            holders,
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

impl<T: AtomicElement, D: Dimension> fmt::Debug for Updating<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.wanted.array.path();
        f.debug_struct("Updating").field("path", &path).finish()
    }
}
