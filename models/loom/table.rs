//! The table of a model: a state block, the lanes of its store, the bytes that guards protect, and
//! the deaths.

use crate::{
    LANES,
    engine::thread,
    fixture::{Deaths, Members, NO_LANE, Pool, block, lane_of, lock_table, span, waiting},
    layout::span::Span,
    payload::Payload,
    spawn,
    state::block::StateBlock,
    state::lanes::{self, Mode},
    state::lock_table::{LockTable, Poison, Recovery, Refusal, Request, poison},
    sync::Ordering::SeqCst,
};
use std::sync::Arc;

/// A recovery of all bytes of its span, which clears their poison.
const AT_ONCE: Recovery = Recovery {
    is_exact: true,
    clears: true,
};
/// The member that checks the table at the end, and has the last lane that is leased.
const LAST: u64 = 5;
/// A member that died before the model began, or panicked.
pub(crate) const DEAD: u64 = 4;

pub(crate) struct Table {
    pub(crate) block: StateBlock,
    pub(crate) payload: Payload,
    pub(crate) pool: Arc<Pool>,
    pub(crate) deaths: Arc<Deaths>,
    key: u64,
}

impl Table {
    /// A table in a pool with a lane for each of five members, and three that are free.
    pub(crate) fn new(is_half_written: bool) -> Arc<Self> {
        Self::with_lanes(LANES, LAST, is_half_written)
    }

    /// A table in a pool of so many lanes, the first ones leased by members 1, 2, 3 ...
    pub(crate) fn with_lanes(lanes: u32, leased: u64, is_half_written: bool) -> Arc<Self> {
        Arc::new(Self {
            block: block(0),
            payload: Payload::new(is_half_written),
            pool: Arc::new(Pool::new(lanes, leased)),
            deaths: Arc::new(Deaths::none()),
            key: 1,
        })
    }

    /// Another array of the same store.
    pub(crate) fn another(&self) -> Arc<Self> {
        Arc::new(Self {
            block: block(0),
            payload: Payload::new(false),
            pool: self.pool.clone(),
            deaths: self.deaths.clone(),
            key: self.key + 1,
        })
    }

    pub(crate) fn lock_table(&self) -> LockTable<'_, Pool> {
        lock_table(&self.block, &self.pool, self.key)
    }

    pub(crate) fn members(&self, member: u64) -> Members<'_> {
        Members {
            member,
            pool: &self.pool,
            deaths: &self.deaths,
        }
    }

    /// Takes a guard as the library does: at once if nothing is in the way, else the long way.
    pub(crate) fn take(&self, request: Request) -> Result<(), Refusal> {
        let table = self.lock_table();
        match table.acquire_at_once(&request, &mut None) {
            true => Ok(()),
            false => table.acquire(request, &self.members(request.member)),
        }
    }

    pub(crate) fn recover(&self, request: Request) -> Result<(), Refusal> {
        let members = self.members(request.member);
        self.lock_table().recover(request, AT_ONCE, &members)
    }

    pub(crate) fn give_back(&self, lane: u32) {
        self.lock_table().give_back(self.pool.at(lane), false);
    }

    pub(crate) fn read(&self, request: Request) -> Result<(), Refusal> {
        self.take(request)?;
        self.payload.read();
        self.give_back(request.lane);
        Ok(())
    }

    pub(crate) fn write(&self, request: Request) -> Result<(), Refusal> {
        self.take(request)?;
        self.payload.write();
        self.give_back(request.lane);
        Ok(())
    }

    /// Recovers a span, and writes it.
    pub(crate) fn rewrite(&self, member: u64, span: Span) {
        self.recover(waiting(member, span, Mode::Write)).unwrap();
        self.payload.overwrite();
        self.give_back(lane_of(member));
    }

    /// Writes a span, and recovers it first if it is poisoned.
    pub(crate) fn write_or_recover(&self, member: u64, span: Span) {
        match self.write(waiting(member, span, Mode::Write)) {
            Ok(()) => {}
            Err(Refusal::Poisoned(_)) => self.rewrite(member, span),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Leaves poison in a lane, as a writer that panics.
    pub(crate) fn poison(&self, span: Span) {
        let lane = lanes::lease(&*self.pool, DEAD, 0).unwrap();
        let request = Request {
            lane,
            ..waiting(DEAD, span, Mode::Write)
        };
        self.take(request).unwrap();
        poison(self.pool.at(lane), DEAD);
    }

    /// Leaves poison in a record of the block.
    pub(crate) fn poison_record(&self, span: Span) {
        self.poison(span);
        self.assert_refused(LAST, span);
    }

    /// Leaves a guard of a dead member in a lane.
    pub(crate) fn left_by_the_dead(&self, lane: u32, span: Span, mode: Mode) {
        let request = Request {
            lane,
            ..waiting(DEAD, span, mode)
        };
        self.take(request).unwrap();
        self.deaths.add(DEAD);
    }

    /// Asserts that a reader is refused for poison.
    pub(crate) fn assert_refused(&self, member: u64, span: Span) -> Poison {
        match self.take(waiting(member, span, Mode::Read)) {
            Err(Refusal::Poisoned(poison)) => poison,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn poisoned(&self, span: Span) -> Vec<Poison> {
        let request = Request {
            lane: NO_LANE,
            ..waiting(LAST, span, Mode::Read)
        };
        let members = self.members(LAST);
        self.lock_table().poisoned(&request, &members).unwrap()
    }

    /// Asserts that every byte of the span is in a record.
    pub(crate) fn assert_poisoned(&self, span: Span) {
        let records = self.poisoned(span);
        let mut covered = span.start;
        for record in &records {
            if record.span.start <= covered {
                covered = covered.max(record.span.end);
            }
        }
        assert!(covered >= span.end, "not all of {span:?} is in {records:?}");
    }

    /// Asserts that half-written bytes are poisoned. Then recovers all bytes, and asserts that the
    /// table is empty.
    pub(crate) fn end(&self) {
        if self.payload.is_half_written() {
            self.assert_poisoned(span(4, 8));
        }
        // A request clears the dead that are in its way, and a call that asks for poison all.
        let all = span(0, 1000);
        self.poisoned(all);
        self.rewrite(LAST, all);
        self.assert_empty();
    }

    /// Asserts that no lane, no record and no lock word is taken.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.block.lock.load(SeqCst), 0, "the lock word is held");
        for (i, record) in self.block.records.iter().enumerate() {
            assert_eq!(record.tag.load(SeqCst), 0, "record {i} is used");
        }
        self.pool.assert_empty(&self.deaths);
    }
}

/// Runs an action on the table in another thread.
pub(crate) fn beside<R: 'static>(
    table: &Arc<Table>,
    action: impl FnOnce(&Table) -> R + 'static,
) -> thread::JoinHandle<R> {
    let table = table.clone();
    spawn(move || action(&table))
}
