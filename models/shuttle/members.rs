//! Members that act at random.

use crate::{
    engine::{
        rand::{Rng, thread_rng},
        thread,
    },
    expected::Expected,
    fixture::{Deaths, Members, assert_empty, at_once, block, span, take, waiting},
    layout::span::Span,
    state::block::StateBlock,
    state::lock_table::{Mode, Refusal, Request},
    sync::{dying, step},
};
use std::sync::{Arc, Mutex, MutexGuard};

/// Members that act on one table at the same time.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    members: u64,
    /// Actions of each member, one after the other.
    actions: u32,
    /// The most guards that one member holds at once.
    guards: u32,
    /// One in this many write guards ends by a panic; 0 means none.
    panics: u32,
    /// One in this many members dies; 0 means none.
    deaths: u32,
}

pub(crate) const GROUPS: &[(&str, Group)] = &[
    (
        "3 members that live",
        Group {
            members: 3,
            actions: 4,
            guards: 1,
            panics: 0,
            deaths: 0,
        },
    ),
    (
        "4 members that fill the table",
        Group {
            members: 4,
            actions: 3,
            guards: 3,
            panics: 0,
            deaths: 0,
        },
    ),
    (
        "3 members that panic",
        Group {
            members: 3,
            actions: 4,
            guards: 2,
            panics: 3,
            deaths: 0,
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
        },
    ),
];

/// The member that checks the table after the others.
const LAST: u64 = 62;
const ALL: Span = Span {
    start: 0,
    end: 64,
    pitch: 0,
    width: 0,
};

struct Table {
    block: StateBlock,
    deaths: Deaths,
    // std's mutex, not the checker's: locking it is no place to switch threads.
    expected: Mutex<Expected>,
}

impl Table {
    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap()
    }
}

pub(crate) fn run(group: Group) {
    let table = Arc::new(Table {
        block: block(0),
        deaths: Deaths::none(),
        expected: Mutex::default(),
    });
    let threads: Vec<_> = (1..=group.members)
        .map(|member| {
            let table = table.clone();
            thread::spawn(move || run_with_successor(&table, member, group))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let members = Members::of(&table.deaths);
    let records = table
        .block
        .poisoned(waiting(LAST, ALL, Mode::Read), &members)
        .unwrap();
    table
        .expected()
        .end(records.into_iter().map(|poison| poison.span));
    let slot = table
        .block
        .recover(waiting(LAST, ALL, Mode::Write), true, &members)
        .unwrap();
    table.block.withdraw(slot);
    assert_empty(&table.block);
}

/// Runs a member. If it dies, a successor runs under another id.
fn run_with_successor(table: &Table, id: u64, group: Group) {
    let dies = group.deaths != 0 && thread_rng().gen_ratio(1, group.deaths);
    let at = if dies {
        thread_rng().gen_range(0..150)
    } else {
        u32::MAX
    };
    if dying(at, || Member::new(table, id, group).run()).is_none() {
        table.expected().died(id);
        table.deaths.add(id);
        Member::new(table, id + group.members, group).run();
    }
}

struct Member<'a> {
    table: &'a Table,
    id: u64,
    members: Members<'a>,
    held: Vec<(usize, Mode)>,
    group: Group,
}

impl<'a> Member<'a> {
    fn new(table: &'a Table, id: u64, group: Group) -> Self {
        Self {
            table,
            id,
            members: Members::of(&table.deaths),
            held: Vec::new(),
            group,
        }
    }

    fn run(mut self) {
        for _ in 0..self.group.actions {
            let span = any_view();
            match thread_rng().gen_range(0..10) {
                0 => self.recover(span),
                1 => {
                    _ = self
                        .table
                        .block
                        .poisoned(self.request(span, Mode::Read), &self.members)
                }
                _ => self.take(span),
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
    }

    /// A member that holds a guard does not wait for another: two such members could wait for each
    /// other.
    fn request(&self, span: Span, mode: Mode) -> Request {
        if self.held.is_empty() && thread_rng().gen_bool(0.8) {
            waiting(self.id, span, mode)
        } else {
            at_once(self.id, span, mode)
        }
    }

    fn take(&mut self, span: Span) {
        let mode = [
            Mode::Read,
            Mode::Read,
            Mode::Write,
            Mode::Write,
            Mode::Atomic,
        ][thread_rng().gen_range(0..5)];
        let request = self.request(span, mode);
        match take(&self.table.block, request, &self.members) {
            Ok(slot) => {
                self.table.expected().given(self.id, slot, span, mode);
                self.hold(slot, mode);
            }
            Err(refusal) => {
                let is_poisoned = matches!(refusal, Refusal::Poisoned(_));
                self.check(refusal, request);
                if is_poisoned && thread_rng().gen_bool(0.5) {
                    self.recover(span);
                }
            }
        }
    }

    fn recover(&mut self, span: Span) {
        let request = self.request(span, Mode::Write);
        match self.table.block.recover(request, true, &self.members) {
            Ok(slot) => {
                self.table.expected().recovered(self.id, slot, span);
                self.hold(slot, Mode::Write);
            }
            Err(refusal) => self.check(refusal, request),
        }
    }

    fn hold(&mut self, slot: usize, mode: Mode) {
        self.held.push((slot, mode));
        self.members.own.set(self.members.own.get() | 1 << slot);
    }

    fn end_guard(&mut self, which: usize) {
        let (slot, mode) = self.held.swap_remove(which);
        self.members.own.set(self.members.own.get() & !(1 << slot));
        if mode == Mode::Write
            && self.group.panics != 0
            && thread_rng().gen_ratio(1, self.group.panics)
        {
            self.table.expected().poisoned(slot);
            self.table.block.poison(slot, self.id);
        } else {
            self.table.expected().given_back(slot);
            self.table.block.withdraw(slot);
        }
    }

    fn check(&self, refusal: Refusal, request: Request) {
        match refusal {
            Refusal::WouldBlock => {
                assert!(
                    request.deadline.is_some(),
                    "a call without a deadline was refused"
                )
            }
            Refusal::WouldDeadlock | Refusal::TooManyGuards => {
                assert!(
                    !self.held.is_empty(),
                    "{refusal:?} for a member without a guard"
                )
            }
            Refusal::CutOff => unreachable!("a model's member always learns which members live"),
            Refusal::Poisoned(record) | Refusal::Interleaved(record) => {
                self.table.expected().refused(request.span, record.span)
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
