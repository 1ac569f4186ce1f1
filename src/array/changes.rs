//! The number of changes of an array or view, and the wait for the next one.
//!
//! `state::changes` says how writes are counted. This module asks the questions of a call: the
//! first one watches the array, and a wait ends where no change can come any more.

use crate::{
    array::{lock_word, open_array::OpenArray, waiting::Waiting},
    error::{Error, Result},
    layout::span::Span,
    sys::wait::{Wait, is_interrupted},
};
use std::time::{Duration, Instant};

/// How often guards wrote to the stripes of a span.
pub(super) fn changed(array: &OpenArray, span: &Span) -> Result<u64> {
    changed_within(array, span, Wait::Forever)
}

fn changed_within(array: &OpenArray, span: &Span, wait: Wait) -> Result<u64> {
    if let Some(number) = array.state().changes(span) {
        return Ok(number);
    }
    // Nothing writes it: to count would be in vain, and its file system may be read-only.
    if span.is_empty() || array.is_immutable() {
        return Ok(0);
    }
    lock_word::watch(array, wait)?;
    Ok(array.state().changes(span).unwrap_or(0))
}

/// Waits until the number differs from `seen`.
pub(super) fn wait(array: &OpenArray, span: &Span, seen: u64, timeout: Duration) -> Result<u64> {
    let deadline = Instant::now().checked_add(timeout);
    match changed_within(array, span, Wait::AtMost(timeout))? {
        number if number != seen => return Ok(number),
        _ => {}
    }
    let mut producer_lived = None;
    let look = |is_due: bool| in_vain(array, is_due, &mut producer_lived).err();
    match array.state().wait_changed(span, seen, deadline, look) {
        Some(outcome) => outcome,
        None => Err(Error::Timeout {
            path: array.path().into(),
            obstacle: "no write guard was given back",
            waited: timeout,
            holders: Default::default(),
        }),
    }
}

/// An error where a wait has to end without a change. A look that is due also counts the guards of
/// writers that died.
fn in_vain(array: &OpenArray, is_due: bool, producer_lived: &mut Option<bool>) -> Result<()> {
    if is_interrupted() {
        return Err(Error::Interrupted {
            path: array.path().into(),
        });
    }
    if array.is_immutable() {
        return Err(Error::Frozen {
            path: array.path().into(),
        });
    }
    if !is_due {
        return Ok(());
    }
    array.check_ready()?;
    let around = Waiting::new(array);
    // Where it cannot, another process sees their death.
    _ = array.member().reach_lanes();
    array
        .lock_table()
        .count_the_dead(array.member().id()?, &around);
    let lives = array.has_producer()?;
    match producer_lived.get_or_insert(lives) {
        true if !lives => Err(Error::Abandoned {
            path: array.path().into(),
            member: array.producer(),
        }),
        _ => Ok(()),
    }
}
