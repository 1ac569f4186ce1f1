//! The store of a model: its arrays, the members that use them at the same time, and the end of it.

use crate::{
    LANES,
    consumer::consume,
    engine::{
        rand::{Rng, thread_rng},
        thread,
    },
    expected::Expected,
    fixture::{Deaths, Members, NO_LANE, Pool, block, lock_table, waiting},
    groups::Group,
    layout::span::Span,
    member::Member,
    state::block::StateBlock,
    state::lanes::{self, Mode},
    state::lock_table::{LockTable, Recovery, Refusal, Request, Surroundings},
    sync::{Ordering::SeqCst, dying},
};
use std::sync::{Arc, Mutex, MutexGuard};

/// A recovery of all bytes of its span, which clears their poison.
pub(crate) const AT_ONCE: Recovery = Recovery {
    is_exact: true,
    clears: true,
};
/// The member that checks the tables after the others.
const LAST: u64 = 62;
pub(crate) const ALL: Span = Span::range(0, 64);

pub(crate) struct Array {
    pub(crate) block: StateBlock,
    pub(crate) key: u64,
    // std's mutex, not the checker's: locking it is no place to switch threads.
    expected: Mutex<Expected>,
}

impl Array {
    pub(crate) fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap()
    }
}

pub(crate) struct Store {
    pub(crate) arrays: Vec<Array>,
    pub(crate) pool: Pool,
    deaths: Deaths,
}

impl Store {
    pub(crate) fn table(&self, array: usize) -> LockTable<'_, Pool> {
        lock_table(
            &self.arrays[array].block,
            &self.pool,
            self.arrays[array].key,
        )
    }

    pub(crate) fn members(&self, member: u64) -> Members<'_> {
        Members {
            member,
            pool: &self.pool,
            deaths: &self.deaths,
        }
    }

    /// Writes all of each array once more, for the consumers to see.
    fn write_last(&self) {
        let members = self.members(LAST);
        for (at, array) in self.arrays.iter().enumerate() {
            let table = self.table(at);
            let mut request = Request {
                lane: NO_LANE,
                ..waiting(LAST, ALL, Mode::Write)
            };
            // Poison may have all of the lanes.
            lanes::clear_dead(&self.pool, |member| members.is_alive(member));
            table.settle_poison(&request, &members);
            let lane = members.lease().unwrap();
            request.lane = lane;
            match table.acquire(request, &members) {
                Ok(()) => array.expected().given(LAST, lane, ALL, Mode::Write),
                Err(Refusal::Poisoned(_)) => {
                    table.recover(request, AT_ONCE, &members).unwrap();
                    array.expected().recovered(LAST, lane, ALL);
                }
                Err(refusal) => panic!("{refusal:?}"),
            }
            array.expected().is_last_written = true;
            array.expected().given_back(lane);
            table.give_back(self.pool.at(lane), false);
            array.expected().counted(ALL);
            assert!(lanes::free(self.pool.at(lane), LAST));
        }
    }

    /// Asserts that no poison was lost, recovers all of it, and asserts that nothing is left.
    fn end(&self) {
        let members = self.members(LAST);
        lanes::clear_dead(&self.pool, |member| members.is_alive(member));
        let mut request = Request {
            lane: NO_LANE,
            ..waiting(LAST, ALL, Mode::Write)
        };
        for (at, array) in self.arrays.iter().enumerate() {
            let table = self.table(at);
            let records = table.poisoned(&request, &members).unwrap();
            array
                .expected()
                .end(records.into_iter().map(|poison| poison.span));
            // Poison may have all of the lanes.
            table.settle_poison(&request, &members);
        }
        for (at, array) in self.arrays.iter().enumerate() {
            let table = self.table(at);
            request.lane = members.lease().unwrap();
            table.recover(request, AT_ONCE, &members).unwrap();
            table.give_back(self.pool.at(request.lane), false);
            assert!(lanes::free(self.pool.at(request.lane), LAST));
            assert_eq!(array.block.lock.load(SeqCst), 0, "the lock word is held");
            let is_used = |tag: u64| Mode::Poisoned.is(tag);
            assert!(
                (array.block.records.iter()).all(|record| !is_used(record.tag.load(SeqCst))),
                "a record is used"
            );
        }
        self.pool.assert_empty(&self.deaths);
    }
}

pub(crate) fn run(group: Group) {
    let store = Arc::new(Store {
        arrays: (0..group.arrays)
            .map(|array| Array {
                block: block(0),
                key: array as u64 + 1,
                expected: Mutex::default(),
            })
            .collect(),
        pool: Pool::new(LANES, 0),
        deaths: Deaths::none(),
    });
    let mut threads: Vec<_> = (1..=group.members + group.consumers)
        .map(|member| {
            let store = store.clone();
            thread::spawn(move || run_with_successor(&store, member, group))
        })
        .collect();
    let consumers = threads.split_off(group.members as usize);
    let join = |threads: Vec<thread::JoinHandle<()>>| {
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    };
    join(threads);
    if group.consumers > 0 {
        store.write_last();
    }
    join(consumers);
    store.end();
}

/// Runs a member. If it dies, a successor runs under another id.
fn run_with_successor(store: &Store, id: u64, group: Group) {
    let dies = group.deaths != 0 && thread_rng().gen_ratio(1, group.deaths);
    let at = if dies {
        thread_rng().gen_range(0..300)
    } else {
        u32::MAX
    };
    let run = |own: u64| match id <= group.members {
        true => Member::new(store, own, group).run(),
        false => consume(store, own, thread_rng().gen_range(0..group.arrays)),
    };
    if dying(at, || run(id)).is_none() {
        for array in &store.arrays {
            array.expected().died(id);
        }
        store.deaths.add(id);
        run(id + group.members + group.consumers);
    }
}
