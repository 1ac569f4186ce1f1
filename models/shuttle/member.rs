//! A member that acts at random.

use crate::{
    LANES,
    engine::rand::{Rng, thread_rng},
    expected::Expected,
    fixture::{Members, NO_LANE, at_once, span, waiting},
    groups::Group,
    layout::span::Span,
    members::{ALL, AT_ONCE, Store},
    state::lanes::{self, Mode},
    state::lock_table::{Refusal, Request, Surroundings},
    state::rests::{Reservation, end_rest},
    sync::{Instant, Ordering::SeqCst, step},
};
use std::{sync::MutexGuard, time::Duration};

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

pub(crate) struct Member<'a> {
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
    pub(crate) fn new(store: &'a Store, id: u64, group: Group) -> Self {
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

    pub(crate) fn run(mut self) {
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

    /// A member that holds a guard does not wait for another without end: two such members could
    /// wait for each other.
    fn request(&self, lane: u32, span: Span, mode: Mode) -> Request {
        let request = if self.held.is_empty() && thread_rng().gen_bool(0.7) {
            waiting(self.id, span, mode)
        } else if thread_rng().gen_bool(0.5) {
            // It gives up, and others may sleep on its wait.
            Request {
                deadline: Some(Instant::now() + Duration::from_millis(1)),
                ..waiting(self.id, span, mode)
            }
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
            self.expected(array).counted(guard.span);
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
                if mode == Mode::Write {
                    self.expected(array).counted(guard.span);
                }
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
pub(crate) fn any_view() -> Span {
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
