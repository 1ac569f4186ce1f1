//! A plain file of shared words, beside the store and without the library: what each thread of each worker is doing, and what it has done.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// Threads that have words of their own.
pub(crate) const LANES: usize = 16;
const WORDS_OF_A_LANE: usize = 512;
const LANES_AT: usize = 64;
const WORDS: usize = LANES_AT + LANES * WORDS_OF_A_LANE;

const STOP: usize = 0;
const KILLS: usize = 1;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub(crate) enum State {
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
}

pub(crate) const STATES: [State; 16] = {
    use State::*;
    [
        Nothing,
        Joining,
        WaitingToRead,
        WaitingToWrite,
        Reading,
        Writing,
        Leaving,
        InTheTable,
        WaitingToRecover,
        Recovering,
        Creating,
        Dropping,
        Opening,
        Claiming,
        Releasing,
        Sweeping,
    ]
};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Op {
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
}

pub(crate) const OPS: [Op; 21] = {
    use Op::*;
    [
        Read, Write, TooLate, Poisoned, Recover, RecoverAll, ManyGuards, TableFull, Panic, Burst, Create, Drop, HandOn, Claim, ClaimLost, Open, Join,
        Named, Release, Sweep, List,
    ]
};

pub(crate) struct Board(memmap2::MmapRaw);

impl Board {
    pub(crate) fn create(path: &Path) -> Self {
        File::create_new(path).unwrap().set_len(WORDS as u64 * 8).unwrap();
        Self::open(path)
    }

    pub(crate) fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let board = memmap2::MmapOptions::new().len(WORDS * 8).map_raw(&file).unwrap();
        Self(board)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < WORDS);
        let word = self.0.as_mut_ptr().cast::<u64>().wrapping_add(at);
        // SAFETY: the word lies inside the mapping, which starts on a page and lives as long as the borrow; everybody accesses it atomically.
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

    pub(crate) fn kills(&self) -> u64 {
        self.word(KILLS).load(SeqCst)
    }

    pub(crate) fn lane(&self, lane: usize) -> Lane<'_> {
        assert!(lane < LANES);
        Lane { board: self, at: LANES_AT + lane * WORDS_OF_A_LANE }
    }

    pub(crate) fn counted(&self, op: Op) -> u64 {
        (0..LANES).map(|lane| self.lane(lane).word(16 + op as usize).load(SeqCst)).sum()
    }

    /// How often a cell was written, as far as its writers came to say so.
    pub(crate) fn done(&self, grid: usize, cell: usize) -> u64 {
        (0..LANES).map(|lane| self.lane(lane).done_word(grid, cell).load(SeqCst)).sum()
    }
}

/// The words of one thread.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'a> {
    board: &'a Board,
    at: usize,
}

impl<'a> Lane<'a> {
    fn word(&self, word: usize) -> &'a AtomicU64 {
        self.board.word(self.at + word)
    }

    fn done_word(&self, grid: usize, cell: usize) -> &'a AtomicU64 {
        assert!(cell < 64);
        self.word(64 + grid * 64 + cell)
    }

    pub(crate) fn set(&self, state: State) {
        self.word(0).store(state as u64, SeqCst);
    }

    pub(crate) fn state(&self) -> State {
        STATES[self.word(0).load(SeqCst) as usize]
    }

    pub(crate) fn beat(&self) {
        self.word(1).fetch_add(1, SeqCst);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.word(1).load(SeqCst)
    }

    /// Says that these cells are about to be written: before the guard is asked for.
    pub(crate) fn about_to_write(&self, grid: usize, cells: u64) {
        self.word(2).store(grid as u64, SeqCst);
        self.word(3).store(cells, SeqCst);
    }

    /// The grid and the cells that are being written, if any.
    pub(crate) fn in_flight(&self) -> (usize, u64) {
        (self.word(2).load(SeqCst) as usize, self.word(3).load(SeqCst))
    }

    /// Says that they were written: after the guard was dropped.
    pub(crate) fn wrote(&self) {
        let (grid, cells) = self.in_flight();
        (0..64).filter(|cell| cells >> cell & 1 == 1).for_each(|cell| {
            let _ = self.done_word(grid, cell).fetch_add(1, SeqCst);
        });
        self.word(3).store(0, SeqCst);
    }

    /// Says that they were not.
    pub(crate) fn wrote_nothing(&self) {
        self.word(3).store(0, SeqCst);
    }

    pub(crate) fn set_member(&self, member: u64) {
        self.word(4).store(member, SeqCst);
    }

    pub(crate) fn member(&self) -> u64 {
        self.word(4).load(SeqCst)
    }

    pub(crate) fn count(&self, op: Op) {
        self.word(16 + op as usize).fetch_add(1, SeqCst);
    }
}
