//! A plain file of shared words, beside the store and without the library: the state of each thread
//! of each worker, and counts of its operations.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

const WORDS_OF_A_THREAD: usize = 512;
const THREADS_AT: usize = 64;

/// Counters that are added to as atomics.
pub(crate) const COUNTERS: usize = 8;

// The words of a thread.
const STATE: usize = 0;
const BEATS: usize = 1;
const GRID: usize = 2;
const CELLS: usize = 3;
const MEMBER: usize = 4;
const ADDING: usize = 5;
const ADDED: usize = 6;
const FRAME: usize = ADDED + COUNTERS;
const COUNTED: usize = 16;
const DONE: usize = 64;

const STOP: usize = 0;
const KILLS: usize = 1;
const FAULTS: usize = 2;

/// An enum, and the list of its variants.
macro_rules! listed {
    (
        $(#[$of_enum:meta])*
        $name:ident as $list:ident { $($(#[$of_variant:meta])* $variant:ident,)* }
    ) => {
        $(#[$of_enum])*
        pub(crate) enum $name {
            $($(#[$of_variant])* $variant,)*
        }

        pub(crate) const $list: &[$name] = &[$($name::$variant),*];
    };
}

listed! {
    /// The state of a thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[repr(u64)]
    State as STATES {
        Nothing,
        Joining,
        WaitingToRead,
        WaitingToWrite,
        Reading,
        Writing,
        /// Gives a guard back.
        Leaving,
        /// Takes and drops guards without pause: mostly in the lock table.
        InTheTable,
        WaitingToRecover,
        Recovering,
        Creating,
        Dropping,
        Opening,
        Claiming,
        Releasing,
        Sweeping,
        /// Fills an array that it will freeze.
        Filling,
        Freezing,
        HoldingFrozen,
        /// Waits until another process freezes an array.
        Awaiting,
        WaitingToCount,
        /// Holds atomics, and adds to them.
        Counting,
        /// Holds atomics, and waits until another thread adds to them.
        AwaitingCount,
        /// Holds no guard, but its last one may rest in its lane.
        Resting,
        WaitingForSet,
        /// Asks how often an array was changed, or waits for a change.
        Watching,
    }
}

listed! {
    /// The operations that are counted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(usize)]
    Op as OPS {
        Read,
        Write,
        TooLate,
        Poisoned,
        Recover,
        RecoverAll,
        ManyGuards,
        TableFull,
        Panic,
        Burst,
        Create,
        Drop,
        HandOn,
        Claim,
        ClaimLost,
        Open,
        Join,
        Named,
        Release,
        Sweep,
        List,
        Freeze,
        GiveUp,
        Consume,
        Recheck,
        Abandoned,
        FrameLost,
        Count,
        CountByWriting,
        ReadCounters,
        CountSeen,
        ComeBack,
        Set,
        Watch,
        ChangeSeen,
    }
}

pub(crate) struct SharedWords {
    words: memmap2::MmapRaw,
    /// Threads that have words of their own.
    threads: usize,
}

impl SharedWords {
    pub(crate) fn create(path: &Path, threads: usize) -> Self {
        let words = THREADS_AT + threads * WORDS_OF_A_THREAD;
        File::create_new(path)
            .unwrap()
            .set_len(words as u64 * 8)
            .unwrap();
        Self::open(path)
    }

    pub(crate) fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let words = memmap2::MmapOptions::new().map_raw(&file).unwrap();
        let threads = (words.len() / 8 - THREADS_AT) / WORDS_OF_A_THREAD;
        Self { words, threads }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.words.len() / 8);
        let word = self.words.as_mut_ptr().cast::<u64>().wrapping_add(at);
        // SAFETY: the word lies inside the mapping, which starts on a page and lives as long as the
        // borrow; every process accesses it atomically.
        unsafe { AtomicU64::from_ptr(word) }
    }

    pub(crate) fn stop(&self) {
        self.word(STOP).store(1, SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.word(STOP).load(SeqCst) != 0
    }

    pub(crate) fn count_kill(&self) {
        self.word(KILLS).fetch_add(1, SeqCst);
    }

    /// A worker found something wrong. It may be killed before it prints the fault.
    pub(crate) fn count_fault(&self) {
        self.word(FAULTS).fetch_add(1, SeqCst);
    }

    pub(crate) fn faults(&self) -> u64 {
        self.word(FAULTS).load(SeqCst)
    }

    pub(crate) fn kills(&self) -> u64 {
        self.word(KILLS).load(SeqCst)
    }

    pub(crate) fn thread(&self, thread: usize) -> ThreadWords<'_> {
        assert!(thread < self.threads);
        ThreadWords {
            shared: self,
            at: THREADS_AT + thread * WORDS_OF_A_THREAD,
        }
    }

    pub(crate) fn counted(&self, op: Op) -> u64 {
        (0..self.threads)
            .map(|thread| self.thread(thread).word(COUNTED + op as usize).load(SeqCst))
            .sum()
    }

    /// How often a counter was added to, as far as the workers came to note it.
    pub(crate) fn added(&self, counter: usize) -> u64 {
        (0..self.threads)
            .map(|thread| self.thread(thread).word(ADDED + counter).load(SeqCst))
            .sum()
    }

    /// How often a cell was written, as far as its writers came to note it.
    pub(crate) fn done(&self, grid: usize, cell: usize) -> u64 {
        (0..self.threads)
            .map(|thread| self.thread(thread).done_word(grid, cell).load(SeqCst))
            .sum()
    }
}

/// The words of one thread.
#[derive(Clone, Copy)]
pub(crate) struct ThreadWords<'a> {
    shared: &'a SharedWords,
    at: usize,
}

impl<'a> ThreadWords<'a> {
    fn word(&self, word: usize) -> &'a AtomicU64 {
        self.shared.word(self.at + word)
    }

    fn done_word(&self, grid: usize, cell: usize) -> &'a AtomicU64 {
        assert!(cell < 64);
        self.word(DONE + grid * 64 + cell)
    }

    pub(crate) fn set(&self, state: State) {
        self.word(STATE).store(state as u64, SeqCst);
    }

    pub(crate) fn state(&self) -> State {
        STATES[self.word(STATE).load(SeqCst) as usize]
    }

    pub(crate) fn beat(&self) {
        self.word(BEATS).fetch_add(1, SeqCst);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.word(BEATS).load(SeqCst)
    }

    /// Says that these cells are about to be written: before the guard is asked for.
    pub(crate) fn about_to_write(&self, grid: usize, cells: u64) {
        self.word(GRID).store(grid as u64, SeqCst);
        self.word(CELLS).store(cells, SeqCst);
    }

    /// The grid and the cells that are being written, if any.
    pub(crate) fn in_flight(&self) -> (usize, u64) {
        (
            self.word(GRID).load(SeqCst) as usize,
            self.word(CELLS).load(SeqCst),
        )
    }

    /// Says that they were written: after the guard was dropped.
    pub(crate) fn wrote(&self) {
        let (grid, cells) = self.in_flight();
        (0..64)
            .filter(|cell| cells >> cell & 1 == 1)
            .for_each(|cell| {
                let _ = self.done_word(grid, cell).fetch_add(1, SeqCst);
            });
        self.word(CELLS).store(0, SeqCst);
    }

    /// Says that they were not.
    pub(crate) fn wrote_nothing(&self) {
        self.word(CELLS).store(0, SeqCst);
    }

    /// Says that a counter is about to be added to.
    pub(crate) fn about_to_add(&self, counter: usize) {
        self.word(ADDING).store(counter as u64 + 1, SeqCst);
    }

    /// The counter that is being added to, if any.
    pub(crate) fn adding(&self) -> Option<usize> {
        self.word(ADDING)
            .load(SeqCst)
            .checked_sub(1)
            .map(|counter| counter as usize)
    }

    /// Says that it was.
    pub(crate) fn added(&self) {
        if let Some(counter) = self.adding() {
            self.word(ADDED + counter).fetch_add(1, SeqCst);
            self.added_nothing();
        }
    }

    pub(crate) fn added_nothing(&self) {
        self.word(ADDING).store(0, SeqCst);
    }

    /// The number of the array that is being made to be frozen; zero where there is none.
    pub(crate) fn set_frame(&self, number: u64) {
        self.word(FRAME).store(number, SeqCst);
    }

    pub(crate) fn frame(&self) -> u64 {
        self.word(FRAME).load(SeqCst)
    }

    pub(crate) fn set_member(&self, member: u64) {
        self.word(MEMBER).store(member, SeqCst);
    }

    pub(crate) fn member(&self) -> u64 {
        self.word(MEMBER).load(SeqCst)
    }

    pub(crate) fn count(&self, op: Op) {
        self.word(COUNTED + op as usize).fetch_add(1, SeqCst);
    }
}
