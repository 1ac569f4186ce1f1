//! The errors of locks that could not be had.
//!
//! The lock table gives a refusal, which has no path and no processes. This module makes the error
//! of it: `obstacles` looks for the holders that the error names.

use crate::{
    array::{obstacles, open_array::OpenArray, waiting::Waiting},
    error::Error,
    format::constants::MOST_LANES,
    inspect::holder::Holders,
    state::lock_table::{Poison, Refusal, Request},
    sys::wait::Deadline,
};
use std::{io, ops::Range, path::Path};

/// Why a call did not get the lock word of the table in time.
const WORD_IS_HELD: &str = "another process held the array's lock word, which takes less than a \
                            microsecond (if it is stopped: continue it by SIGCONT, or end it)";

/// The error of a request that the table refused.
#[cold]
pub(super) fn refused(
    array: &OpenArray,
    request: &Request,
    refusal: Refusal,
    deadline: &Deadline,
    around: &Waiting<'_>,
) -> Error {
    let path = array.path().to_path_buf();
    match refusal {
        Refusal::WouldDeadlock => Error::WouldDeadlock {
            path,
            holders: obstacles::in_the_circle(array, request, around),
        },
        Refusal::CutOff => array.member().lost(),
        Refusal::TooManyGuards => Error::TooManyGuards {
            path,
            limit: MOST_LANES,
        },
        Refusal::OutOfReach => around
            .unreached
            .take()
            .unwrap_or_else(|| out_of_reach(&path)),
        Refusal::NotWritable => array.not_writable(),
        // The callers begin again in a forked child.
        Refusal::Interrupted | Refusal::Forked => Error::Interrupted { path },
        Refusal::Poisoned(poison) => {
            event!(
                WARN,
                path = %path.display(),
                start = poison.span.start,
                end = poison.span.end,
                member = poison.member,
                "found poison"
            );
            Error::Poisoned {
                path,
                range: range_of(poison),
                member: poison.member,
                holders: obstacles::writer_of(array, &poison),
            }
        }
        Refusal::Interleaved(poison) => {
            let reason = format!(
                "the poisoned bytes {:?} interleave with those of this view: recover a view that \
                 contains them",
                range_of(poison)
            );
            Error::layout("recover", reason)
        }
        Refusal::WouldBlock => {
            let holders = obstacles::in_the_way(array, request, around);
            held(&path, deadline, holders)
        }
        Refusal::WordHeld => deadline
            .failed(&path, WORD_IS_HELD)
            .held_by(obstacles::in_the_way(array, request, around)),
    }
}

/// The error of a wait for guards that ended before these were given back.
pub(super) fn held(path: &Path, deadline: &Deadline, holders: Holders) -> Error {
    let obstacle = match holders.is_empty() {
        true => "guards on overlapping bytes, which are given back by now, were held",
        false => "a guard on overlapping bytes was held",
    };
    deadline.failed(path, obstacle).held_by(holders)
}

/// A guard in a lane that this process cannot touch, though it reached all that there are.
fn out_of_reach(path: &Path) -> Error {
    let source = io::Error::other("a guard is in a lane beyond the end of the lock file");
    Error::io(path, "reach the lanes that other processes added")(source)
}

/// The bytes of a record of poison, as a range of the payload.
pub(super) fn range_of(poison: Poison) -> Range<usize> {
    poison.span.start as usize..poison.span.end as usize
}
