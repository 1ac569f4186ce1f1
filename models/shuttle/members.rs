//! Members that act at random.

use crate::{
    LANES,
    engine::{
        rand::{Rng, thread_rng},
        thread,
    },
    expected::Expected,
    fixture::{Deaths, Members, NO_LANE, Pool, at_once, block, lock_table, span, waiting},
    layout::span::Span,
    state::block::StateBlock,
    state::lanes::{self, Mode},
    state::lock_table::{LockTable, Recovery, Refusal, Request, Surroundings},
    state::rests::{Reservation, end_rest},
    sync::{Ordering::SeqCst, dying, step},
};
use std::sync::{Arc, Mutex, MutexGuard};

/// A recovery of all bytes of its span, which clears their poison.
const AT_ONCE: Recovery = Recovery {
    is_exact: true,
    clears: true,
};

/// Members that act on the arrays of a store at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    members: u64,
    /// Arrays, which share the lanes.
    arrays: usize,
    /// Actions of each member, one after the other.
    actions: u32,
    /// The most guards that one member holds at once.
    guards: u32,
    /// One in this many write guards ends by a panic; 0 means none.
    panics: u32,
    /// One in this many members dies; 0 means none.
    deaths: u32,
}

const LIVING: Group = Group {
    members: 3,
    arrays: 1,
    actions: 4,
    guards: 1,
    panics: 0,
    deaths: 0,
};

pub(crate) const GROUPS: &[(&str, Group)] = &[
    ("3 members that live", LIVING),
    (
        "5 members that wait for their turns",
        Group {
            members: 5,
            ..LIVING
        },
    ),
    (
        "4 members that use two arrays",
        Group {
            members: 4,
            arrays: 2,
            ..LIVING
        },
    ),
    (
        "4 members that take all lanes",
        Group {
            members: 4,
            actions: 3,
            guards: 4,
            ..LIVING
        },
    ),
    (
        "3 members that panic",
        Group {
            guards: 2,
            panics: 3,
            ..LIVING
        },
    ),
    (
        "4 members that panic and die",
        Group {
            members: 4,
            actions: 3,
            guards: 2,
            panics: 6,
            deaths: 2,
            ..LIVING
        },
    ),
    (
        "4 members that panic and die, with two arrays",
        Group {
            members: 4,
            arrays: 2,
            guards: 2,
            panics: 6,
            deaths: 2,
            ..LIVING
        },
    ),
];

/// The member that checks the tables after the others.
const LAST: u64 = 62;
const ALL: Span = Span::range(0, 64);

struct Array {
    block: StateBlock,
    key: u64,
    // std's mutex, not the checker's: locking it is no place to switch threads.
    expected: Mutex<Expected>,
}

impl Array {
    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap()
    }
}

struct Store {
    arrays: Vec<Array>,
    pool: Pool,
    deaths: Deaths,
}

impl Store {
    fn table(&self, array: usize) -> LockTable<'_, Pool> {
        lock_table(
            &self.arrays[array].block,
            &self.pool,
            self.arrays[array].key,
        )
    }

    fn members(&self, member: u64) -> Members<'_> {
        Members {
            member,
            pool: &self.pool,
            deaths: &self.deaths,
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
    let threads: Vec<_> = (1..=group.members)
        .map(|member| {
            let store = store.clone();
            thread::spawn(move || run_with_successor(&store, member, group))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
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
    if dying(at, || Member::new(store, id, group).run()).is_none() {
        for array in &store.arrays {
            array.expected().died(id);
        }
        store.deaths.add(id);
        Member::new(store, id + group.members, group).run();
    }
}

#[derive(Clone, Copy)]
struct Guard {
    array: usize,
    lane: u32,
    span: Span,
    mode: Mode,
    /// The reservation that stays when it rests. A guard that was taken at once may rest.
    reserved: Option<Reservation>,
}

impl Guard {
    /// A guard that its thread may take where this one rests.
    fn next(self, reserved: &Reservation) -> Self {
        let mode = match reserved.mode {
            Mode::Write if thread_rng().gen_bool(0.4) => Mode::Read,
            mode => mode,
        };
        let span = match reserved.has_parts {
            true => {
                let (start, end) = (reserved.span.start, reserved.span.end);
                let first = thread_rng().gen_range(start..end);
                span(first, thread_rng().gen_range(first + 1..=end))
            }
            false => reserved.span,
        };
        Self { mode, span, ..self }
    }
}

struct Member<'a> {
    store: &'a Store,
    id: u64,
    members: Members<'a>,
    /// A lane that has no guard, as a thread keeps it.
    kept: Option<u32>,
    /// The guard that rests in the kept lane, unless it was revoked.
    resting: Option<Guard>,
    held: Vec<Guard>,
    group: Group,
}

impl<'a> Member<'a> {
    fn new(store: &'a Store, id: u64, group: Group) -> Self {
        Self {
            store,
            id,
            members: store.members(id),
            kept: None,
            resting: None,
            held: Vec::new(),
            group,
        }
    }

    fn run(mut self) {
        for _ in 0..self.group.actions {
            let span = any_view();
            let array = thread_rng().gen_range(0..self.group.arrays);
            match thread_rng().gen_range(0..10) {
                0 => self.recover(array, span),
                1 => {
                    let request = self.request(NO_LANE, span, Mode::Read);
                    _ = self.store.table(array).poisoned(&request, &self.members)
                }
                2 if self.group.panics != 0 => {
                    let request = self.request(NO_LANE, span, Mode::Read);
                    self.store
                        .table(array)
                        .settle_poison(&request, &self.members)
                }
                _ if self.resume() => {}
                _ => self.take(array, span),
            }
            step();
            let keeps = (self.held.len() as u32) < self.group.guards && thread_rng().gen_bool(0.5);
            if !keeps && !self.held.is_empty() {
                let which = thread_rng().gen_range(0..self.held.len());
                self.end_guard(which);
            }
        }
        while !self.held.is_empty() {
            self.end_guard(0);
        }
        if let Some(lane) = self.kept.take() {
            end_rest(self.store.pool.at(lane), self.id);
            assert!(lanes::free(self.store.pool.at(lane), self.id));
        }
    }

    /// A member that holds a guard does not wait for another: two such members could wait for each
    /// other.
    fn request(&self, lane: u32, span: Span, mode: Mode) -> Request {
        let request = if self.held.is_empty() && thread_rng().gen_bool(0.8) {
            waiting(self.id, span, mode)
        } else {
            at_once(self.id, span, mode)
        };
        Request { lane, ..request }
    }

    /// The kept lane, or another one.
    fn lease(&mut self) -> Option<u32> {
        let kept = self.kept.take();
        if let Some(resting) = self.resting.take() {
            end_rest(self.store.pool.at(resting.lane), self.id);
        }
        let lane = kept.or_else(|| self.members.lease());
        assert!(
            lane.is_some() || self.group.guards > 1,
            "no lane is free for one guard"
        );
        lane
    }

    /// Keeps a lane, or frees it.
    fn keep(&mut self, lane: u32) {
        match self.kept {
            None => self.kept = Some(lane),
            Some(_) => assert!(lanes::free(self.store.pool.at(lane), self.id)),
        }
    }

    /// Takes the guard again that rests. Returns false if there is none.
    fn resume(&mut self) -> bool {
        let Some(last) = self.resting.take_if(|_| thread_rng().gen_bool(0.7)) else {
            return false;
        };
        let Some(reserved) = last.reserved else {
            return false;
        };
        let guard = last.next(&reserved);
        let request = self.request(guard.lane, guard.span, guard.mode);
        let ripe = self.ripe_waiters(guard.array, &request);
        let lane = self.store.pool.at(guard.lane);
        let epoch = lane.epoch.load(SeqCst);
        let is_resumed = lane.resume(self.id, epoch, &reserved, guard.mode, &guard.span);
        if is_resumed {
            self.kept = None;
            self.expected(guard.array)
                .given(self.id, guard.lane, guard.span, guard.mode);
            self.assert_none_waits(&ripe);
            self.held.push(guard);
        }
        is_resumed
    }

    fn take(&mut self, array: usize, span: Span) {
        let mode = [
            Mode::Read,
            Mode::Read,
            Mode::Write,
            Mode::Write,
            Mode::Atomic,
        ][thread_rng().gen_range(0..5)];
        let Some(lane) = self.lease() else {
            return;
        };
        let request = self.request(lane, span, mode);
        let ripe = self.ripe_waiters(array, &request);
        let table = self.store.table(array);
        let reserve = (span.pitch == 0 && thread_rng().gen_bool(0.5)).then_some(ALL);
        let mut range = reserve;
        let is_at_once = table.acquire_at_once(&request, &mut range);
        let taken = match is_at_once {
            true => Ok(()),
            false => table.acquire(request, &self.members),
        };
        let reserved = (is_at_once && range == reserve).then_some(Reservation {
            mode,
            span: range.unwrap_or(span),
            has_parts: range.is_some(),
        });
        match taken {
            Ok(()) => {
                self.expected(array).given(self.id, lane, span, mode);
                self.assert_none_waits(&ripe);
                self.held.push(Guard {
                    array,
                    lane,
                    span,
                    mode,
                    reserved,
                });
            }
            Err(refusal) => {
                self.keep(lane);
                let is_poisoned = matches!(refusal, Refusal::Poisoned(_));
                self.check(array, refusal, request);
                if is_poisoned && thread_rng().gen_bool(0.5) {
                    self.recover(array, span);
                }
            }
        }
    }

    fn recover(&mut self, array: usize, span: Span) {
        let Some(lane) = self.lease() else {
            return;
        };
        let request = self.request(lane, span, Mode::Write);
        match self
            .store
            .table(array)
            .recover(request, AT_ONCE, &self.members)
        {
            Ok(()) => {
                self.expected(array).recovered(self.id, lane, span);
                self.held.push(Guard {
                    array,
                    lane,
                    span,
                    mode: Mode::Write,
                    reserved: None,
                });
            }
            Err(refusal) => {
                self.keep(lane);
                self.check(array, refusal, request)
            }
        }
    }

    fn expected(&self, array: usize) -> MutexGuard<'a, Expected> {
        self.store.arrays[array].expected()
    }

    fn end_guard(&mut self, which: usize) {
        let guard = self.held.swap_remove(which);
        let Guard {
            array, lane, mode, ..
        } = guard;
        let line = self.store.pool.at(lane);
        if mode == Mode::Write
            && self.group.panics != 0
            && thread_rng().gen_ratio(1, self.group.panics)
        {
            self.expected(array).poisoned(lane);
            self.store.table(array).poison(line, self.id);
        } else {
            self.expected(array).given_back(lane);
            let rests = guard.reserved.is_some()
                && self.kept.is_none()
                && thread_rng().gen_bool(0.7)
                && line.rest();
            if rests {
                (self.kept, self.resting) = (Some(lane), Some(guard));
            } else {
                self.store.table(array).give_back(line, false);
                self.keep(lane);
            }
        }
    }

    /// Ripe waiters that exclude a request which has not begun: it must not go before them.
    fn ripe_waiters(&self, array: usize, request: &Request) -> Vec<(u32, u64)> {
        if !self.held.is_empty() {
            return Vec::new();
        }
        let excludes = match request.mode {
            Mode::Write => &[Mode::WriteWait, Mode::ReadWait, Mode::AtomicWait][..],
            Mode::Read => &[Mode::WriteWait, Mode::AtomicWait],
            _ => &[Mode::WriteWait, Mode::ReadWait],
        };
        let ripe = |index| {
            let lane = self.store.pool.at(index);
            let turn = lane.turn.load(SeqCst);
            let tag = lane.tag.load(SeqCst);
            let is_one = turn >> 32 & 1 != 0
                && excludes.iter().any(|mode| mode.is(tag))
                && lane.key.load(SeqCst) == self.store.arrays[array].key
                && lane.hold(tag).overlaps(&request.span);
            is_one.then_some((index, turn))
        };
        (0..LANES).filter_map(ripe).collect()
    }

    /// Asserts that none of these waiters waits still.
    fn assert_none_waits(&self, waiters: &[(u32, u64)]) {
        for &(index, turn) in waiters {
            let lane = self.store.pool.at(index);
            let tag = lane.tag.load(SeqCst);
            let waits = [Mode::WriteWait, Mode::ReadWait, Mode::AtomicWait]
                .iter()
                .any(|mode| mode.is(tag));
            assert!(
                !waits || lane.turn.load(SeqCst) != turn,
                "{} went before the ripe waiter in lane {index}",
                self.id
            );
        }
    }

    fn check(&self, array: usize, refusal: Refusal, request: Request) {
        match refusal {
            Refusal::WouldBlock => {
                assert!(
                    request.deadline.is_some(),
                    "a call without a deadline was refused"
                )
            }
            Refusal::WouldDeadlock => {
                assert!(
                    !self.held.is_empty(),
                    "{refusal:?} for a member without a guard"
                )
            }
            Refusal::OutOfReach => panic!("a pool has no lane out of reach"),
            Refusal::CutOff | Refusal::WordHeld | Refusal::Interrupted => {
                unreachable!("a model's member always learns which members live")
            }
            Refusal::Forked | Refusal::NotWritable => {
                unreachable!("a model's member neither forks nor freezes")
            }
            Refusal::TooManyGuards => {
                assert!(
                    self.group.guards > 1,
                    "{refusal:?} in a group of few guards"
                )
            }
            Refusal::Poisoned(record) | Refusal::Interleaved(record) => {
                self.expected(array).refused(request.span, record.span)
            }
        }
    }
}

/// Rows, columns and other parts of a table of 4 rows of 16 bytes, the columns of one pitch.
fn any_view() -> Span {
    match thread_rng().gen_range(0..12) {
        row @ 0..4 => span(16 * row, 16 * row + 16),
        column @ 4..8 => Span {
            start: 4 * (column - 4),
            end: 48 + 4 * (column - 3),
            pitch: 16,
            width: 4,
        },
        8 => ALL,
        9 => span(0, 32),
        10 => span(10, 30),
        _ => span(8, 16),
    }
}
