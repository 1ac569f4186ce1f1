//! Access to the elements of a `SharedArray`: guards, copies, assignment.

use super::SharedArray;
use crate::{
    array::{
        Labels, from_ndarray,
        guard::{ReadGuard, WriteGuard},
        together::{Reading, Writing},
    },
    element::Element,
    error::Result,
    store::member::Member,
    sys::wait::Wait,
};
use ndarray::{Array, Dimension};
use std::{ops::Range, sync::Arc, time::Duration};

impl<T: Element, D: Dimension> SharedArray<T, D> {
    /// Shared access to the elements: waits while any process holds a [`WriteGuard`] on overlapping
    /// bytes.
    ///
    /// # Errors
    ///
    /// `Poisoned` where a writer of some of the elements died or panicked; `WouldDeadlock` where
    /// this thread holds that guard, or one that a waiting writer waits for; `TooManyGuards`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// assert_eq!(xs.read()?.sum(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[inline]
    pub fn read(&self) -> Result<ReadGuard<T, D>> {
        self.core.read(Wait::Forever)
    }

    /// [`read`](Self::read) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it would have to wait; those of `read`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// let _held = xs.write()?;
    /// let view = xs.view()?;
    /// let tried = std::thread::spawn(move || view.try_read().map(drop)).join().unwrap();
    /// assert!(matches!(tried, Err(ndshm::Error::WouldBlock { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_read(&self) -> Result<ReadGuard<T, D>> {
        self.core.read(Wait::Never)
    }

    /// [`read`](Self::read) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` where the guard was not free by then; those of `read`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// assert_eq!(xs.read_timeout(std::time::Duration::from_secs(1))?.len(), 5);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> Result<ReadGuard<T, D>> {
        self.core.read(Wait::AtMost(timeout))
    }

    /// A [`read`](Self::read) guard to be taken together with others, by [`lock`](crate::lock()).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.ones::<f64, _>(5)?, manager.zeros::<f64, _>(5)?);
    /// let (read, mut written) = ndshm::lock((xs.reading(), ys.writing()))?;
    /// written.assign(&read);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn reading(&self) -> Reading<T, D> {
        self.core.reading()
    }

    /// A [`write`](Self::write) guard to be taken together with others, by [`lock`](crate::lock()).
    /// Where the view cannot be written, `lock` says so.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let [mut guard] = ndshm::lock([xs.writing()])?;
    /// guard.fill(1.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn writing(&self) -> Writing<T, D> {
        self.core.writing()
    }

    /// A [`recover`](Self::recover) guard to be taken together with others, by
    /// [`lock`](crate::lock()). The poison is cleared when all guards of the call are taken; a call
    /// that is refused leaves it as it was. Where the view cannot be written, `lock` says so.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let (xs, ys) = (manager.ones::<f64, _>(5)?, manager.zeros::<f64, _>(5)?);
    /// ys.write()?.poison();
    /// let (read, mut written) = ndshm::lock((xs.reading(), ys.recovering()))?;
    /// written.assign(&read);
    /// drop((read, written));
    /// assert_eq!(ys.read()?.sum(), 5.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recovering(&self) -> Writing<T, D> {
        self.core.recovering()
    }

    /// Exclusive access to the elements: waits while any process holds a guard on overlapping
    /// bytes. Guards on other bytes of the same array, of other halves or columns, do not exclude
    /// each other.
    ///
    /// # Errors
    ///
    /// `ReadOnly` for an array or view that cannot be written; `Poisoned` where another writer of
    /// some of the elements died or panicked; `WouldDeadlock` where this thread holds such a guard;
    /// `TooManyGuards`.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((4, 6))?;
    /// let (left, right) = (xs.slice(s![.., ..3])?, xs.slice(s![.., 3..])?);
    /// let (mut l, mut r) = (left.write()?, right.write()?); // columns of one array, both at once
    /// l.fill(1.0);
    /// r.fill(2.0);
    /// drop((l, r));
    /// assert_eq!(xs.read()?.sum(), 36.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    #[inline]
    pub fn write(&self) -> Result<WriteGuard<T, D>> {
        self.core.write(Wait::Forever)
    }

    /// [`write`](Self::write) without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where it would have to wait; those of `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// xs.try_write()?.fill(2.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn try_write(&self) -> Result<WriteGuard<T, D>> {
        self.core.write(Wait::Never)
    }

    /// [`write`](Self::write) that waits no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// `Timeout` where the guard was not free by then; those of `write`.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(5)?;
    /// xs.write_timeout(std::time::Duration::from_secs(1))?.fill(2.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> Result<WriteGuard<T, D>> {
        self.core.write(Wait::AtMost(timeout))
    }

    /// Exclusive access to elements that may be poisoned: by a writer that panicked, or whose
    /// process died, with its guard held.
    ///
    /// Waits like [`write`](Self::write). Set the elements to valid values; dropping the guard
    /// removes their poison. Where a panic drops the guard, or its process dies, the poison stays.
    /// Poison outside this view stays too: it covers at least the bytes that the writer held when
    /// it died.
    ///
    /// # Errors
    ///
    /// `Layout` where this view's elements interleave with other poisoned ones, so that the rest of
    /// the poison cannot be recorded: recover a view that contains them, for instance the whole
    /// array. Those of [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::Error;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(5)?;
    /// let panicked = std::panic::catch_unwind(|| {
    ///     let mut guard = xs.write().unwrap();
    ///     guard[0] = 1.0;
    ///     panic!("half-way");
    /// });
    /// assert!(panicked.is_err() && matches!(xs.read(), Err(Error::Poisoned { .. })));
    /// xs.recover()?.fill(0.0);
    /// assert_eq!(xs.read()?.sum(), 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn recover(&self) -> Result<WriteGuard<T, D>> {
        self.core.recover()
    }

    /// The poisoned ranges that touch this view, in ascending order, in bytes from the start of the
    /// array's data.
    ///
    /// A range may be wider than the bytes that were written: records of poison are merged when
    /// there are many.
    ///
    /// # Errors
    ///
    /// `Io` where the kernel does not tell which members are alive.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(manager.zeros::<f64, _>(5)?.poisoned()?.is_empty());
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn poisoned(&self) -> Result<Vec<Range<usize>>> {
        self.core.poisoned()
    }

    /// Whether any element of this view is poisoned; see [`recover`](Self::recover).
    ///
    /// # Errors
    ///
    /// As [`poisoned`](Self::poisoned).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// assert!(!manager.zeros::<f64, _>(5)?.is_poisoned()?);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn is_poisoned(&self) -> Result<bool> {
        self.core.is_poisoned()
    }

    /// How often write guards on elements of this view were given back: a number that goes up with
    /// each, in all processes, and never goes down.
    ///
    /// It goes up after the elements can be read: a number never includes a guard that is still
    /// held. It also goes up where a guard wrote nothing, and where the writer panicked or its
    /// process died: then a read says `Poisoned`. It does not count stores to
    /// [`atomic`](Self::atomic) views, nor writes without a guard.
    ///
    /// The array is counted in eight parts of equal length. So the number may also go up by writes
    /// to elements close by, and for a view of columns by writes to the columns between. A guard
    /// raises it by one or more.
    ///
    /// The first call by any process makes write guards of this array count, for ever: each then
    /// costs some 100 ns more. Until then they cost nothing more, and the number is 0.
    ///
    /// # Errors
    ///
    /// `Timeout` where a stopped process keeps the array's lock word for longer than the
    /// [`lock_timeout`](crate::Builder::lock_timeout) of the store.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>((8, 100))?;
    /// let (first, last) = (xs.slice(s![0, ..])?, xs.slice(s![7, ..])?);
    /// let before = (xs.changed()?, first.changed()?, last.changed()?);
    /// first.write()?.fill(1.0);
    /// assert!(xs.changed()? > before.0 && first.changed()? > before.1);
    /// assert_eq!(last.changed()?, before.2);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn changed(&self) -> Result<u64> {
        self.core.changed()
    }

    /// Waits while [`changed`](Self::changed) is `seen`, and returns the new number: at once if it
    /// is another one already.
    ///
    /// Ask for the number first, then read the elements, then wait with that number: no change is
    /// missed. The thread sleeps in the kernel, and the end of a write guard wakes it. The death of
    /// a writer counts as a change, within 25 ms.
    ///
    /// # Errors
    ///
    /// `Timeout` where the number was the same for so long; `Frozen` if the array is frozen, which
    /// no write can change; `Released` if it was released meanwhile; `Abandoned` if the process
    /// that made it was alive when the wait began and ended since. The last two are noticed within
    /// 25 ms. Those of `changed`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.zeros::<f64, _>(4)?;
    /// let seen = xs.changed()?;
    /// std::thread::scope(|scope| {
    ///     let producer = scope.spawn(|| xs.write().map(|mut guard| guard.fill(1.0)));
    ///     assert_ne!(xs.wait_changed(seen, Duration::from_secs(60))?, seen);
    ///     assert_eq!(xs.read()?.sum(), 4.0);
    ///     producer.join().unwrap()
    /// })?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn wait_changed(&self, seen: u64, timeout: Duration) -> Result<u64> {
        self.core.wait_changed(seen, timeout)
    }

    /// A private copy as an ndarray array. A contiguous array keeps its order.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(3)?;
    /// let mut copy = xs.to_ndarray()?;
    /// copy[0] = 5.0;
    /// assert_eq!(xs.read()?[0], 1.0);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn to_ndarray(&self) -> Result<Array<T, D>> {
        Ok(self.read()?.to_owned())
    }

    /// A new shared array in the same store with a copy of the elements:
    /// [`Local`](crate::Scope::Local), without a name. A contiguous array keeps its order, any
    /// other becomes C.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read) and of making an array.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.ones::<f64, _>(3)?;
    /// let copy = xs.copy()?;
    /// copy.write()?.fill(2.0);
    /// assert_eq!((xs.read()?[0], copy.read()?[0]), (1.0, 2.0));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn copy(&self) -> Result<Self> {
        self.copy_to(self.member())
    }

    pub(crate) fn copy_to(&self, member: &Arc<Member>) -> Result<Self> {
        let source = self.read()?;
        from_ndarray(member, Labels::default(), &source)
    }

    /// Copies the elements of another shared array into this one, broadcasting them where ndarray
    /// does.
    ///
    /// Locks both, in an order that cannot deadlock. Where they overlap, the elements go through a
    /// private copy. For a plain ndarray array use `write()?.assign(..)`.
    ///
    /// # Errors
    ///
    /// `Layout` where the shapes do not fit; those of [`read`](Self::read) and
    /// [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndarray::s;
    ///
    /// let manager = ndshm::Manager::new()?;
    /// let xs = manager.from_shape_fn::<i32, _>(4, |i| i as i32)?;
    /// xs.slice(s![1..])?.assign(&xs.slice(s![..3])?)?;
    /// assert_eq!(xs.to_ndarray()?, ndarray::array![0, 0, 1, 2]);
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn assign<E: Dimension>(&self, source: &SharedArray<T, E>) -> Result<()> {
        self.core.check_writable()?;
        let source = source.broadcast(self.core.layout.dim.clone())?;
        if source.id() == self.id() && source.core.span().overlaps(&self.core.span()) {
            let private = source.to_ndarray()?;
            self.write()?.assign(&private);
            return Ok(());
        }
        let is_first =
            (self.id(), self.core.extent().start) < (source.id(), source.core.extent().start);
        let (mut target, elements) = if is_first {
            (self.write()?, source.read()?)
        } else {
            let elements = source.read()?;
            (self.write()?, elements)
        };
        target.assign(&elements);
        Ok(())
    }

    /// Writes changed pages of the array's file to its disk, and waits for it. On a tmpfs, which
    /// has no disk, it does nothing.
    ///
    /// # Errors
    ///
    /// `Io` where the kernel reports one.
    ///
    /// # Examples
    ///
    /// ```
    /// let manager = ndshm::Manager::new()?;
    /// manager.ones::<f64, _>(3)?.flush()?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.core.flush()
    }
}
