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
//! A part that recovers takes its lock over the poison, which stays until all locks of the set are
//! taken. So a set that is refused has cleared none. Should the clearing itself be refused for a
//! later part, those that were cleared before become poison again, as wholes.
//!
//! `parts` are the views of a set, with one kind of access each, `sets` their tuples and lists,
//! `wanted` the order of locks, and `taking` takes them.

#[allow(unsafe_code)]
mod parts;
mod sets;
mod taking;
mod wanted;

pub use parts::{Reading, Updating, Writing};

use crate::{error::Result, sys::wait::Wait};
use sets::{Locks, Taken};
use std::time::Duration;

/// Guards that [`lock`](crate::lock()) takes together: [`Reading`], [`Writing`] and [`Updating`],
/// tuples of up to twelve of them, arrays and vectors of one kind, and tuples, arrays and vectors
/// of these.
pub trait LockSet: Locks {}

impl<S: Locks> LockSet for S {}

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
/// Those of `read`, `write`, `recover` and `atomic`; `WouldDeadlock` also where two views of the
/// call share bytes and are neither both read nor both atomic. After an error no guard is held, and
/// no poison was cleared.
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
    let locks = taking::take_all(&wanted, wait)?;
    Ok(set.guards(&mut Taken::new(locks)))
}
