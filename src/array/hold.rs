//! What a guard keeps alive: the segment, in the place of the handles that it outlives, and with it
//! the mapping that its lane is in.
//!
//! The handles of an opening share an `Arc` of it. Guards are taken far more often than handles are
//! cloned, so they do not count in that `Arc`: its word would be written by all threads. Each
//! opening has a [`Keeper`] from its first guard on, which counts the guards' [`Hold`]s
//! ([`Holds`]). The last handle closes it and leaves the segment there if guards are left; the
//! last of these drops the segment.
//!
//! One of the modules with unsafe code: a hold reaches its segment and its lane by pointers.

use crate::{
    segment::Segment,
    state::lanes::{Lane, Lanes},
    store::thread_lanes,
    sys::{fork, holds::Holds},
};
use std::{
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicPtr,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

/// The holds of an opening, one after the other of many. It is never freed: see [`Holds`].
pub(super) struct Keeper {
    holds: Holds<Arc<Segment>>,
    /// The segment of the opening that has the keeper.
    segment: AtomicPtr<Segment>,
}

/// The keepers that no opening has.
static FREE: fork::Mutex<Vec<&'static Keeper>> = fork::Mutex::new(Vec::new());

/// The keeper of an opening, from its first guard on.
pub(super) struct Kept(AtomicPtr<Keeper>);

impl Kept {
    pub(super) const fn none() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// A hold on the segment of the opening that has this keeper, and on a lane of its store.
    #[inline]
    pub(super) fn hold(&self, segment: &Arc<Segment>, lane: Option<u32>) -> Hold {
        let keeper = match self.get() {
            Some(keeper) => keeper,
            None => self.find(segment),
        };
        keeper.holds.take(thread_lanes::number());
        let lane = lane.and_then(|index| segment.member().lanes().lane(index));
        let lane = lane.map_or(ptr::null_mut(), |lane| ptr::from_ref(lane).cast_mut());
        Hold {
            keeper,
            lane: AtomicPtr::new(lane),
        }
    }

    #[inline]
    fn get(&self) -> Option<&'static Keeper> {
        let keeper = self.0.load(Acquire);
        // SAFETY: it is null, or `find` stored it, which has it from a reference that lives as long
        // as the process.
        unsafe { keeper.as_ref() }
    }

    #[cold]
    fn find(&self, segment: &Arc<Segment>) -> &'static Keeper {
        let mut free = FREE.lock();
        // Another thread may have been faster.
        self.get().unwrap_or_else(|| {
            let keeper = free.pop().unwrap_or_else(Keeper::new);
            keeper
                .segment
                .store(Arc::as_ptr(segment).cast_mut(), Relaxed);
            self.0.store(ptr::from_ref(keeper).cast_mut(), Release);
            keeper
        })
    }

    /// Drops the segment of an opening whose last handle is dropped, now or with its last hold.
    pub(super) fn close(&mut self, segment: &Arc<Segment>) {
        if let Some(keeper) = self.get()
            && keeper.holds.close(segment.clone()).is_some()
        {
            FREE.lock().push(keeper);
        }
    }
}

impl Keeper {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            holds: Holds::new(),
            segment: AtomicPtr::new(ptr::null_mut()),
        }))
    }
}

/// Keeps a segment mapped, for a guard, and the lane of that guard.
pub(super) struct Hold {
    keeper: &'static Keeper,
    /// Atomic, because guards are shared between threads; null without a lane.
    lane: AtomicPtr<Lane>,
}

impl Hold {
    /// The lane of the guard; `None` where it has none.
    #[inline]
    pub(super) fn lane(&self) -> Option<&Lane> {
        let lane = self.lane.load(Relaxed);
        // SAFETY: it is null, or the lane that the pool gave. The segment's member has the mapping
        // of the lanes, and ends it only with the member; the hold keeps the segment, and the
        // segment its member. All fields of a lane are atomics.
        unsafe { lane.as_ref() }
    }

    /// The guard has no lane any more.
    pub(super) fn leave_lane(&mut self) {
        *self.lane.get_mut() = ptr::null_mut();
    }

    #[inline]
    pub(super) fn segment(&self) -> &Segment {
        let segment = self.keeper.segment.load(Relaxed);
        // SAFETY: the opening set the pointer before it took this hold, from an `Arc` that it keeps
        // until it closes the keeper. From then on the holds keep a clone of it until the last one
        // is given back, this one included. No other opening gets the keeper before.
        unsafe { &*segment }
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        if let Some(segment) = self.keeper.holds.give_back(thread_lanes::number()) {
            FREE.lock().push(self.keeper);
            drop(segment);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Manager, SharedArray1};
    use ndarray::s;
    use std::{collections::HashSet, fs, path::Path, ptr, sync::Barrier, thread};

    fn is_mapped(path: &Path) -> bool {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        maps.contains(path.to_str().unwrap())
    }

    /// In each round another thread gives the last hold back: a guard, or the last handle.
    #[test]
    fn the_last_guard_or_handle_of_any_thread_ends_the_mapping() {
        // A file that is kept for reuse stays mapped.
        let manager = Manager::builder().recycle(0).create().unwrap();
        for last in (0..4).cycle().take(200) {
            let xs: SharedArray1<f64> = manager.ones(10).unwrap();
            let path = xs.path().to_path_buf();
            let (taken, dropped) = (Barrier::new(3), Barrier::new(3));
            thread::scope(|scope| {
                for number in 0..3 {
                    let (xs, taken, dropped) = (xs.view().unwrap(), &taken, &dropped);
                    scope.spawn(move || {
                        let guards = [
                            xs.read().unwrap(),
                            xs.slice(s![..3]).unwrap().read().unwrap(),
                        ];
                        let mut xs = Some(xs);
                        taken.wait();
                        if number != last {
                            xs.take();
                        }
                        let [first, second] = guards;
                        drop(first);
                        assert_eq!(second.sum(), 3.0);
                        if number == last {
                            dropped.wait();
                            assert_eq!(second.sum(), 3.0);
                            xs.take();
                            assert_eq!(second.sum(), 3.0);
                        } else {
                            drop(second);
                            dropped.wait();
                        }
                    });
                }
                drop(xs);
            });
            assert!(!path.exists() && !is_mapped(&path), "{last}");
        }
    }

    #[test]
    fn a_guard_keeps_a_mapping_that_is_opened_again_meanwhile() {
        // A file that is kept for reuse stays mapped.
        let manager = Manager::builder().recycle(0).create().unwrap();
        let xs: SharedArray1<f64> = manager.ones(10).unwrap();
        let (handle, guard) = (xs.handle(), xs.read().unwrap());
        let path = xs.path().to_path_buf();
        drop(xs);
        assert!(path.exists());
        let again: SharedArray1<f64> = handle.open().unwrap();
        drop(guard);
        assert_eq!(again.read().unwrap().sum(), 10.0);
        let guard = again.read().unwrap();
        drop(again);
        assert_eq!(guard.sum(), 10.0);
        drop(guard);
        assert!(!path.exists() && !is_mapped(&path));
    }

    #[test]
    fn keepers_serve_one_opening_after_the_other() {
        // A file that is kept for reuse stays mapped.
        let manager = Manager::builder().recycle(0).create().unwrap();
        let keeper = || {
            let xs: SharedArray1<f64> = manager.ones(10).unwrap();
            let guard = xs.read().unwrap();
            let keeper = xs.core.opened.kept.get().map(ptr::from_ref);
            drop(guard);
            keeper
        };
        // Other tests take keepers meanwhile.
        let few: HashSet<_> = (0..1000).map(|_| keeper()).collect();
        assert!(few.len() < 500, "{}", few.len());
    }
}
