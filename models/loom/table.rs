//! The table of a model: a state block, the bytes that its guards protect, and the deaths.

use crate::{
    engine::thread,
    fixture::{Deaths, Members, assert_empty, block, span, take, waiting},
    layout::span::Span,
    payload::Payload,
    state::block::StateBlock,
    state::lock_table::{Mode, Refusal, Request},
};
use std::sync::Arc;

/// The member that checks the table at the end.
const LAST: u64 = 8;

pub(crate) struct Table {
    pub(crate) block: StateBlock,
    pub(crate) payload: Payload,
    pub(crate) deaths: Deaths,
}

impl Table {
    pub(crate) fn new(is_half_written: bool) -> Arc<Self> {
        Arc::new(Self {
            block: block(0),
            payload: Payload::new(is_half_written),
            deaths: Deaths::none(),
        })
    }

    pub(crate) fn take(&self, request: Request) -> Result<usize, Refusal> {
        take(&self.block, request, &Members::of(&self.deaths))
    }

    pub(crate) fn recover(&self, request: Request) -> Result<usize, Refusal> {
        self.block
            .recover(request, true, &Members::of(&self.deaths))
    }

    pub(crate) fn read(&self, request: Request) -> Result<(), Refusal> {
        let slot = self.take(request)?;
        self.payload.read();
        self.block.withdraw(slot);
        Ok(())
    }

    pub(crate) fn write(&self, request: Request) -> Result<(), Refusal> {
        let slot = self.take(request)?;
        self.payload.write();
        self.block.withdraw(slot);
        Ok(())
    }

    /// Recovers a span, and writes it.
    pub(crate) fn rewrite(&self, member: u64, span: Span) {
        let slot = self.recover(waiting(member, span, Mode::Write)).unwrap();
        self.payload.overwrite();
        self.block.withdraw(slot);
    }

    /// Writes a span, and recovers it first if it is poisoned.
    pub(crate) fn write_or_recover(&self, member: u64, span: Span) {
        match self.write(waiting(member, span, Mode::Write)) {
            Ok(()) => {}
            Err(Refusal::Poisoned(_)) => self.rewrite(member, span),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Leaves a record of poison, as a member whose writer panics.
    pub(crate) fn poison(&self, request: Request) {
        let slot = self.take(request).unwrap();
        self.block.poison(slot, request.member);
    }

    /// Asserts that every byte of the span is in a record.
    pub(crate) fn assert_poisoned(&self, span: Span) {
        let records = self
            .block
            .poisoned(waiting(LAST, span, Mode::Read), &Members::of(&self.deaths))
            .unwrap();
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
        // Only readers have a dead member's intent in their way. They clear it, and so does a call
        // that asks for poison.
        let all = span(0, 1000);
        self.block
            .poisoned(waiting(LAST, all, Mode::Read), &Members::of(&self.deaths))
            .unwrap();
        self.rewrite(LAST, all);
        assert_empty(&self.block);
    }
}

/// Runs an action on the table in another thread.
pub(crate) fn beside<R: 'static>(
    table: &Arc<Table>,
    action: impl FnOnce(&Table) -> R + 'static,
) -> thread::JoinHandle<R> {
    let table = table.clone();
    thread::spawn(move || action(&table))
}
