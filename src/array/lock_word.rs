//! Questions to the lock table that need its lock word and no lane.

use crate::{
    array::{
        lock::NO_LANE,
        open_array::OpenArray,
        refusal::{range_of, refused},
        waiting::Waiting,
    },
    error::Result,
    layout::span::Span,
    state::{
        changes::stripe_len,
        lanes::Mode,
        lock_table::{LockTable, Refusal, Request},
    },
    store::{lane_pool::LanePool, thread_lanes},
    sys::wait::{Deadline, Wait},
};
use std::ops::Range;

/// The poisoned bytes of a span, as ranges of the payload. A frozen array has none: poison refuses
/// the freeze, and a freezer that dies wrote nothing. Waits for the lock word only, and as long as
/// the store's setting allows.
pub(super) fn poisoned(array: &OpenArray, span: Span) -> Result<Vec<Range<usize>>> {
    let deadline = array.member().deadline();
    let found = ask(array, span, &deadline, |table, request, around| {
        table.poisoned(request, around)
    })?;
    if array.is_immutable() {
        return Ok(Vec::new());
    }
    Ok(found.into_iter().map(range_of).collect())
}

/// Watches an array, so that its guards that write are counted from now on. Waits for the lock word
/// only.
pub(super) fn watch(array: &OpenArray, wait: Wait) -> Result<()> {
    let deadline = wait.or(array.member().settings().lock_timeout()).begin();
    let stripe_len = stripe_len(array.data_len() as u64);
    ask(array, Span::ALL, &deadline, |table, request, around| {
        table.watch(request, stripe_len, around)
    })
}

/// Asks the table, and asks again in a child that the caller's check forked amid the wait.
fn ask<T>(
    array: &OpenArray,
    span: Span,
    deadline: &Deadline,
    question: impl Fn(LockTable<'_, LanePool>, &Request, &Waiting<'_>) -> Result<T, Refusal>,
) -> Result<T> {
    loop {
        let request = Request {
            member: array.member().id_within(deadline.rest())?,
            thread: thread_lanes::number(),
            lane: NO_LANE,
            span,
            mode: Mode::Read,
            deadline: deadline.instant(),
        };
        let around = Waiting::new(array);
        match question(array.lock_table(), &request, &around) {
            Ok(answer) => return Ok(answer),
            Err(Refusal::Forked) => {}
            Err(refusal) => return Err(refused(array, &request, refusal, deadline, &around)),
        }
    }
}
