//! The state block of an array, and its lock table: the part of a file that changes while it is mapped.
//!
//! Everything is atomic, any bytes are a valid block, and nothing here knows of files: the table works the same in a plain box.
//! The order of operations is SeqCst throughout. What a process that dies in here leaves behind is not repaired yet: the lock
//! word of a killed holder stays taken.

use crate::{format::*, span::Span};
use rustix::{io::Errno, thread::futex, time::Timespec};
use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

/// Number of slots of the lock table.
pub(crate) const SLOTS: usize = 64;
/// The longest sleep of a waiter before it looks again. In tests it is so long that a wake-up that is lost is noticed.
const LONGEST_SLEEP: Duration = if cfg!(test) { Duration::from_secs(3600) } else { Duration::from_millis(100) };
/// How often a waiter for the lock word looks before it yields the processor.
const SPINS: usize = 100;

/// Values of the lifecycle word.
pub(crate) mod lifecycle {
    pub(crate) const READY: u32 = 1;
    pub(crate) const RELEASED: u32 = 2;
    pub(crate) const RECYCLING: u32 = 3;
}

/// What a guard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Read = 1,
    Write = 2,
}

/// The state block as it lies in the file, 64 bytes from its start.
#[repr(C)]
pub(crate) struct StateBlock {
    pub(crate) endian: AtomicU32,
    pub(crate) lifecycle: AtomicU32,
    pub(crate) frozen: AtomicU32,
    pub(crate) openers: AtomicU32,
    generation: AtomicU64,
    pub(crate) owner: AtomicU64,
    lock: AtomicU64,
    wake: AtomicU32,
    waiting: AtomicU32,
    used: AtomicU64,
    pub(crate) producer: AtomicU64,
    slots: [Slot; SLOTS],
}

#[repr(C)]
struct Slot {
    /// Bits 0 to 55 member id, 56 to 63 mode; zero is free.
    tag: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    pitch: AtomicU32,
    width: AtomicU32,
}

const _: () = assert!(size_of::<StateBlock>() == STATE_LEN);
const _: () = assert!(std::mem::offset_of!(StateBlock, owner) == 88 - STATE_AT);
const _: () = assert!(std::mem::offset_of!(StateBlock, slots) == 128 - STATE_AT);

/// Why a guard was not given at once.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    /// A guard on overlapping bytes; `own` where the calling thread holds one of them.
    Conflict { own: bool },
    /// All slots are taken.
    Full,
}

/// Why no guard is given at all.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    WouldBlock,
    WouldDeadlock,
    TooManyGuards,
}

impl StateBlock {
    /// The bytes of a new block.
    pub(crate) fn initial(owner: u64, producer: u64) -> [u8; STATE_LEN] {
        let mut bytes = [0; STATE_LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at - STATE_AT..][..value.len()].copy_from_slice(value);
        put(64, &ENDIAN_PROBE.to_ne_bytes());
        put(68, &lifecycle::READY.to_ne_bytes());
        put(88, &owner.to_ne_bytes());
        put(120, &producer.to_ne_bytes());
        bytes
    }

    /// Takes a slot for these bytes, and returns its number.
    ///
    /// Waits until `deadline`, for ever where there is none. `is_own` tells whether the calling thread holds the given slot of this process.
    pub(crate) fn acquire(
        &self,
        member: u64,
        span: Span,
        mode: Mode,
        deadline: Option<Instant>,
        is_own: impl Fn(usize) -> bool,
    ) -> Result<usize, Refusal> {
        loop {
            self.lock(member, deadline)?;
            let is_mine = |slot: usize| self.holder(slot) == member && is_own(slot);
            // Read first: what is given back from here on changes it, so that the sleep below does not begin.
            let seen = self.wake.load(SeqCst);
            let found = self.place(member, span, mode, is_mine);
            self.unlock();
            match found {
                Ok(slot) => return Ok(slot),
                Err(Obstacle::Conflict { own: true }) => return Err(Refusal::WouldDeadlock),
                Err(Obstacle::Full) if (0..SLOTS).any(is_mine) => return Err(Refusal::TooManyGuards),
                Err(_) => self.sleep(seen, deadline)?,
            }
        }
    }

    /// Gives a slot back and wakes who waits.
    pub(crate) fn release(&self, slot: usize) {
        self.slots[slot].tag.swap(0, SeqCst);
        self.wake.fetch_add(1, SeqCst);
        if self.waiting.swap(0, SeqCst) != 0 {
            // The only failures are of the arguments, which are constant.
            let _ = futex::wake(&self.wake, futex::Flags::empty(), i32::MAX as u32);
        }
    }

    /// The member that holds a slot, 0 where it is free.
    fn holder(&self, slot: usize) -> u64 {
        self.slots[slot].tag.load(SeqCst) & (MAX_MEMBER - 1)
    }

    /// Takes a free slot unless a guard is in the way. The caller holds the lock word.
    fn place(&self, member: u64, span: Span, mode: Mode, is_mine: impl Fn(usize) -> bool) -> Result<usize, Obstacle> {
        let mut used = self.used.load(SeqCst);
        let mut free = !used;
        let mut conflict = None;
        while used != 0 {
            let slot = used.trailing_zeros() as usize;
            used &= used - 1;
            let tag = self.slots[slot].tag.load(SeqCst);
            if tag == 0 {
                free |= 1 << slot;
            } else if (mode == Mode::Write || tag >> 56 != Mode::Read as u64) && self.slots[slot].span().overlaps(&span) {
                conflict = Some(conflict.unwrap_or(false) || is_mine(slot));
            }
        }
        if let Some(own) = conflict {
            return Err(Obstacle::Conflict { own });
        }
        if free == 0 {
            return Err(Obstacle::Full);
        }
        let slot = free.trailing_zeros() as usize;
        self.slots[slot].put(span);
        self.used.store(!free | 1 << slot, SeqCst);
        self.slots[slot].tag.swap(member | (mode as u64) << 56, SeqCst);
        Ok(slot)
    }

    fn lock(&self, member: u64, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut tries = 0;
        while self.lock.compare_exchange_weak(0, member, SeqCst, SeqCst).is_err() {
            tries += 1;
            if tries % SPINS != 0 {
                std::hint::spin_loop();
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) && tries > 100 * SPINS {
                return Err(Refusal::WouldBlock);
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    fn unlock(&self) {
        self.lock.store(0, SeqCst);
    }

    /// Sleeps until a slot is given back after `seen` was read, but not long.
    fn sleep(&self, seen: u32, deadline: Option<Instant>) -> Result<(), Refusal> {
        let mut time = LONGEST_SLEEP;
        if let Some(deadline) = deadline {
            time = time.min(deadline.saturating_duration_since(Instant::now()));
            if time.is_zero() {
                return Err(Refusal::WouldBlock);
            }
        }
        self.waiting.store(1, SeqCst);
        let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        match futex::wait(&self.wake, futex::Flags::empty(), seen, Some(&timeout)) {
            // Woken, changed before the sleep, interrupted, or time to look again.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => Ok(()),
            Err(errno) => unreachable!("futex wait: {errno}"),
        }
    }
}

impl Slot {
    fn put(&self, span: Span) {
        self.start.store(span.start, SeqCst);
        self.end.store(span.end, SeqCst);
        self.pitch.store(span.pitch, SeqCst);
        self.width.store(span.width, SeqCst);
    }

    fn span(&self) -> Span {
        let (start, end) = (self.start.load(SeqCst), self.end.load(SeqCst));
        Span { start, end, pitch: self.pitch.load(SeqCst), width: self.width.load(SeqCst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, atomic::AtomicUsize, mpsc};

    const ME: u64 = 7;

    fn block() -> Box<StateBlock> {
        let zero32 = || AtomicU32::new(0);
        let zero64 = || AtomicU64::new(0);
        let slot = || Slot { tag: zero64(), start: zero64(), end: zero64(), pitch: zero32(), width: zero32() };
        Box::new(StateBlock {
            endian: zero32(),
            lifecycle: zero32(),
            frozen: zero32(),
            openers: zero32(),
            generation: zero64(),
            owner: zero64(),
            lock: zero64(),
            wake: zero32(),
            waiting: zero32(),
            used: zero64(),
            producer: zero64(),
            slots: std::array::from_fn(|_| slot()),
        })
    }

    fn span(start: u64, end: u64) -> Span {
        Span { start, end, pitch: 0, width: 0 }
    }

    fn try_acquire(block: &StateBlock, member: u64, span: Span, mode: Mode, own: bool) -> Result<usize, Refusal> {
        block.acquire(member, span, mode, Some(Instant::now()), |_| own)
    }

    #[test]
    fn writers_exclude_overlapping_readers_and_writers_and_nobody_else() {
        let block = block();
        let first = try_acquire(&block, ME, span(0, 10), Mode::Write, false).unwrap();
        assert!(try_acquire(&block, ME, span(10, 20), Mode::Write, false).is_ok());
        assert_eq!(try_acquire(&block, ME, span(9, 11), Mode::Read, false), Err(Refusal::WouldBlock));
        assert_eq!(try_acquire(&block, 8, span(0, 1), Mode::Write, true), Err(Refusal::WouldBlock));
        block.release(first);
        assert!(try_acquire(&block, ME, span(0, 5), Mode::Read, false).is_ok());
        assert!(try_acquire(&block, ME, span(0, 5), Mode::Read, false).is_ok());
        assert_eq!(try_acquire(&block, ME, span(0, 5), Mode::Write, false), Err(Refusal::WouldBlock));
    }

    #[test]
    fn a_thread_that_would_wait_for_itself_is_told() {
        let block = block();
        try_acquire(&block, ME, span(0, 10), Mode::Read, false).unwrap();
        assert_eq!(try_acquire(&block, ME, span(5, 6), Mode::Write, true), Err(Refusal::WouldDeadlock));
    }

    #[test]
    fn a_full_table_refuses_who_holds_a_part_of_it() {
        let block = block();
        let slots: Vec<_> = (0..64).map(|i| try_acquire(&block, ME, span(i, i + 1), Mode::Write, false).unwrap()).collect();
        assert_eq!(try_acquire(&block, ME, span(99, 100), Mode::Read, true), Err(Refusal::TooManyGuards));
        assert_eq!(try_acquire(&block, ME, span(99, 100), Mode::Read, false), Err(Refusal::WouldBlock));
        block.release(slots[40]);
        assert_eq!(try_acquire(&block, ME, span(99, 100), Mode::Read, false), Ok(40));
    }

    #[test]
    fn a_wait_with_a_deadline_ends_though_the_lock_word_stays_taken() {
        let block = block();
        block.lock.store(8, SeqCst);
        assert_eq!(try_acquire(&block, ME, span(0, 1), Mode::Read, false), Err(Refusal::WouldBlock));
    }

    #[test]
    fn a_waiter_gets_the_slot_when_it_is_released_and_no_wake_up_is_lost() {
        let (done, finished) = mpsc::channel();
        let (block, inside) = (Arc::new(block()), Arc::new(AtomicUsize::new(0)));
        for member in 1..=4 {
            let (block, inside, done) = (block.clone(), inside.clone(), done.clone());
            std::thread::spawn(move || {
                for _ in 0..20_000 {
                    let slot = block.acquire(member, span(0, 8), Mode::Write, None, |_| false).unwrap();
                    assert_eq!(inside.fetch_add(1, SeqCst), 0);
                    inside.fetch_sub(1, SeqCst);
                    block.release(slot);
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..4 {
            finished.recv_timeout(Duration::from_secs(60)).expect("a thread sleeps on, though the slot is free");
        }
    }
}
