//! The models' replacement of the library's `sync`: the model checker's atomics, sleeps that only a
//! wake-up ends, and threads that can die.
//!
//! A [`dying`] thread stops before one of its accesses to a word and has no further effect. To
//! other processes the death of a process looks the same.
//!
//! Time stands still, so a lost wake-up is a deadlock. After a death every sleep ends once
//! ([`let_time_pass`]), because nothing else tells the waiters. A sleep that is shorter than the
//! longest one ends at once.

use crate::engine::{
    self, lazy_static,
    sync::{Condvar, Mutex as EngineMutex, atomic::fence as engine_fence},
    thread_local,
};
pub(crate) use std::sync::atomic::Ordering;
use std::{
    cell::Cell,
    ops::Add,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::*},
    },
    time::Duration,
};

/// Time stands still.
pub(crate) fn milliseconds() -> u32 {
    0
}

/// Whether a model leaves the fences of the side that runs often out.
static IS_WITHOUT_LIGHT_FENCES: AtomicBool = AtomicBool::new(false);

pub(crate) fn leave_out_light_fences(left_out: bool) {
    IS_WITHOUT_LIGHT_FENCES.store(left_out, SeqCst);
}

/// A barrier of the kernel in all threads, and the compiler's fence: together as two full fences.
pub(crate) fn light_fence() {
    if !IS_WITHOUT_LIGHT_FENCES.load(SeqCst) {
        engine_fence(SeqCst);
    }
}

/// A full fence, which is none of its own where a read-modify-write before it is one.
pub(crate) fn fence_after_write() {
    engine_fence(SeqCst);
}

pub(crate) fn heavy_fence() {
    engine_fence(SeqCst);
}

/// No model forks.
pub(crate) type OnceLock<T> = std::sync::OnceLock<T>;

/// A mutex whose lock cannot be poisoned.
pub(crate) struct Mutex<T>(engine::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(engine::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> engine::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// Time stands still, so no other waiter's question counts.
pub(crate) const QUESTION_LASTS: u32 = 0;

pub(crate) const SPINS: u32 = 1;
/// The table's longest sleep, without an earlier deadline.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// The fence that stands in for SeqCst, which loom treats as AcqRel: at most one for each access,
/// in a place that gives all such accesses one order.
///
/// Each place is stronger than SeqCst for other accesses around it: one for later loads, the other
/// for earlier stores. So a model that needs SeqCst runs with both. Fences establish more
/// happens-before than the language does, so a model that does not need SeqCst runs without.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Fences {
    None,
    BehindStores,
    BeforeLoads,
}

static FENCES: AtomicU8 = AtomicU8::new(0);
/// Whether any thread died since [`take_any_died`].
static ANY_DIED: AtomicBool = AtomicBool::new(false);

pub(crate) fn set_fences(fences: Fences) {
    FENCES.store(fences as u8, SeqCst);
}

fn fence_if(fences: Fences, order: Ordering) {
    if order == SeqCst && FENCES.load(SeqCst) == fences as u8 {
        engine_fence(SeqCst);
    }
}

thread_local! {
    /// Accesses that a dying thread may still make.
    static LEFT: Cell<u32> = Cell::new(u32::MAX);
    /// Whether the thread lets others run after each of its loads.
    static YIELDS: Cell<bool> = Cell::new(false);
    /// The number of deaths that ended sleeps of this thread.
    static DEATHS_SEEN: Cell<u32> = Cell::new(0);
    /// This thread's clock.
    static NOW: Cell<Duration> = Cell::new(Duration::ZERO);
}

struct Died;

/// Runs a part of a thread that dies before its access number `step`. Returns `None` if it died.
pub(crate) fn dying<R>(step: u32, life: impl FnOnce() -> R) -> Option<R> {
    LEFT.with(|left| left.set(step));
    let result = catch_unwind(AssertUnwindSafe(life));
    LEFT.with(|left| left.set(u32::MAX));
    match result {
        Ok(result) => Some(result),
        Err(died) if died.is::<Died>() => {
            ANY_DIED.store(true, SeqCst);
            None
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs a part of a thread that lets others run after each of its loads, without a preemption.
pub(crate) fn slowly<R>(part: impl FnOnce() -> R) -> R {
    YIELDS.with(|yields| yields.set(true));
    let result = part();
    YIELDS.with(|yields| yields.set(false));
    result
}

/// Whether any thread died since the last call.
pub(crate) fn take_any_died() -> bool {
    ANY_DIED.swap(false, SeqCst)
}

/// A place where a dying thread may stop. Every access to a word calls it.
pub(crate) fn step() {
    let is_last = LEFT.with(|left| match left.get() {
        u32::MAX => false,
        accesses => {
            left.set(accesses.saturating_sub(1));
            accesses == 0
        }
    });
    if is_last {
        resume_unwind(Box::new(Died));
    }
}

macro_rules! word {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name(engine::sync::atomic::$name);

        #[allow(dead_code, reason = "both types have the same methods")]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(engine::sync::atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                step();
                fence_if(Fences::BeforeLoads, order);
                let value = self.0.load(if order == SeqCst { Acquire } else { order });
                if YIELDS.with(Cell::get) {
                    engine::thread::yield_now();
                }
                value
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                step();
                self.0
                    .store(value, if order == SeqCst { Release } else { order });
                fence_if(Fences::BehindStores, order);
            }

            fn change(
                &self,
                order: Ordering,
                change: impl FnOnce(&engine::sync::atomic::$name, Ordering) -> $value,
            ) -> $value {
                step();
                fence_if(Fences::BeforeLoads, order);
                let before = change(&self.0, if order == SeqCst { AcqRel } else { order });
                fence_if(Fences::BehindStores, order);
                before
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.swap(value, order))
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.fetch_add(value, order))
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.fetch_sub(value, order))
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.fetch_or(value, order))
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.fetch_and(value, order))
            }

            pub(crate) fn fetch_xor(&self, value: $value, order: Ordering) -> $value {
                self.change(order, |word, order| word.fetch_xor(value, order))
            }

            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                fence_if(Fences::BeforeLoads, order);
                let [order_here, failure_here] = [(order, AcqRel), (failure, Acquire)]
                    .map(|(order, less)| if order == SeqCst { less } else { order });
                let result = self.0.compare_exchange(old, new, order_here, failure_here);
                if result.is_ok() {
                    fence_if(Fences::BehindStores, order);
                }
                result
            }

            pub(crate) fn fetch_update(
                &self,
                order: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut found = self.load(failure);
                while let Some(new) = change(found) {
                    match self.compare_exchange(found, new, order, failure) {
                        Ok(old) => return Ok(old),
                        Err(other) => found = other,
                    }
                }
                Err(found)
            }
        }
    };
}
word!(AtomicU16, u16);
word!(AtomicU32, u32);
word!(AtomicU64, u64);

pub(crate) fn fence(order: Ordering) {
    engine_fence(order);
}

pub(crate) fn spin_loop() {
    engine::thread::yield_now();
}

pub(crate) fn yield_now() {
    engine::thread::yield_now();
}

pub(crate) fn sleep(_: Duration) {
    engine::thread::yield_now();
}

/// A point of the calling thread's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.with(Cell::get))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().saturating_duration_since(*self)
    }

    pub(crate) fn saturating_duration_since(&self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// The sleeping threads: the address of each one's word, and the means to wake it.
struct Sleepers {
    deaths: u32,
    asleep: Vec<(usize, Arc<Condvar>)>,
}

lazy_static! {
    static ref SLEEPERS: EngineMutex<Sleepers> = EngineMutex::new(Sleepers {
        deaths: 0,
        asleep: Vec::new()
    });
}

pub(crate) fn sleep_on(word: &AtomicU32, value: u32, longest: Duration) {
    step();
    sleep_while(key(word), longest, || word.0.load(Relaxed) == value);
}

pub(crate) fn sleep_on_high_half(word: &AtomicU64, value: u64, longest: Duration) {
    step();
    sleep_while(key(word), longest, || {
        word.0.load(Relaxed) >> 32 == value >> 32
    });
}

pub(crate) fn sleep_on_value(word: &AtomicU32, value: u32, longest: Duration) -> bool {
    step();
    sleep_while(key(word), longest, || word.0.load(Relaxed) == value);
    true
}

/// Wakes sleepers on the present value too, which look again and sleep on.
pub(crate) fn wake_sleepers_before(word: &AtomicU32, _present: u32, most: u32) {
    step();
    let mut left = most;
    wake(|sleeper| {
        let is_meant = sleeper == key(word) && left > 0;
        left -= u32::from(is_meant);
        is_meant
    });
}

pub(crate) fn wake_all(word: &AtomicU32) {
    step();
    wake(|sleeper| sleeper == key(word));
}

pub(crate) fn wake_high_half(word: &AtomicU64) {
    step();
    wake(|sleeper| sleeper == key(word));
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step();
    wake_first(key(word));
}

pub(crate) fn wake_one_high_half(word: &AtomicU64) {
    step();
    wake_first(key(word));
}

fn wake_first(word: usize) {
    let mut is_first = true;
    wake(|sleeper| sleeper == word && std::mem::take(&mut is_first));
}

/// Ends every sleep once, including one that begins later: a death wakes no waiter by itself.
pub(crate) fn let_time_pass() {
    SLEEPERS.lock().unwrap().deaths += 1;
    wake(|_| true);
}

fn key<W>(word: &W) -> usize {
    std::ptr::from_ref(word).addr()
}

fn sleep_while(word: usize, longest: Duration, is_same: impl Fn() -> bool) {
    if longest < LONGEST_SLEEP {
        NOW.with(|now| now.set(now.get() + longest));
        return yield_now();
    }
    let mut sleepers = SLEEPERS.lock().unwrap();
    let deaths = sleepers.deaths;
    let is_over = |deaths: u32| DEATHS_SEEN.with(|seen| seen.replace(deaths) != deaths);
    // As in the kernel, no waker runs between the comparison and the sleep.
    if !is_same() || is_over(deaths) {
        return;
    }
    let me = Arc::new(Condvar::new());
    sleepers.asleep.push((word, me.clone()));
    while sleepers
        .asleep
        .iter()
        .any(|(_, other)| Arc::ptr_eq(other, &me))
    {
        sleepers = me.wait(sleepers).unwrap();
    }
    is_over(sleepers.deaths);
}

fn wake(mut is_meant: impl FnMut(usize) -> bool) {
    let mut sleepers = SLEEPERS.lock().unwrap();
    sleepers.asleep.retain(|(word, sleeper)| {
        let is_woken = is_meant(*word);
        if is_woken {
            sleeper.notify_one();
        }
        !is_woken
    });
}
