//! A member that consumes: it asks how often a part of an array was changed, reads the part, and
//! waits for another number, until it has read the last write.
//!
//! Time stands still in a model, so a change that wakes no consumer is a deadlock.

use crate::{
    engine::thread,
    fixture::{NO_LANE, waiting},
    member::any_view,
    members::{ALL, Store},
    state::{
        changes::stripe_len,
        lanes::{self, Mode},
        lock_table::{Refusal, Request, Surroundings},
    },
};

pub(crate) fn consume(store: &Store, id: u64, array: usize) {
    let (members, table) = (store.members(id), store.table(array));
    let expected = || store.arrays[array].expected();
    let (span, block) = (any_view(), &store.arrays[array].block);
    let mut request = Request {
        lane: NO_LANE,
        ..waiting(id, span, Mode::Read)
    };
    table
        .watch(&request, stripe_len(ALL.end), &members)
        .unwrap();
    let mut seen = block.changes(&span).unwrap();
    loop {
        // The guards that end from now on raise the number once each, or more often.
        let ended = expected().ended(span);
        request.lane = loop {
            match members.lease() {
                Some(lane) => break lane,
                // Poison may have all of the lanes.
                None => table.settle_poison(
                    &Request {
                        lane: NO_LANE,
                        ..request
                    },
                    &members,
                ),
            }
            thread::yield_now();
        };
        let mut is_last_written = false;
        match table.acquire(request, &members) {
            Ok(()) => {
                expected().given(id, request.lane, span, Mode::Read);
                is_last_written = expected().is_last_written;
                expected().given_back(request.lane);
                table.give_back(store.pool.at(request.lane), false);
            }
            Err(Refusal::Poisoned(record)) => expected().refused(span, record.span),
            Err(refusal) => panic!("{refusal:?}"),
        }
        assert!(lanes::free(store.pool.at(request.lane), id));
        if is_last_written {
            return;
        }
        let look = |is_due: bool| {
            if is_due {
                table.count_the_dead(id, &members);
            }
            None::<()>
        };
        let Some(Ok(number)) = block.wait_changed(&span, seen, None, look) else {
            panic!("a wait without a deadline ended without a change");
        };
        assert!(number > seen, "{seen} changes, and then {number}");
        let counted = expected().all_counted(span);
        let number = block.changes(&span).unwrap();
        assert!(
            number - seen >= counted.saturating_sub(ended),
            "{} changes are counted of {counted} less {ended}",
            number - seen
        );
        seen = number;
    }
}
