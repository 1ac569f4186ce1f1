//! What members do, at random.

use crate::{
    engine::{
        rand::{Rng, thread_rng},
        thread,
    },
    layout::span::Span,
    ledger::Ledger,
    scene::{Deaths, View, assert_empty, at_once, block, patient, span},
    state::block::StateBlock,
    state::lock_table::{Mode, Refusal, Request},
    sync::{dying, step},
};
use std::sync::{Arc, Mutex, MutexGuard};

/// Members that live side by side.
#[derive(Clone, Copy)]
pub(crate) struct Community {
    members: u64,
    /// What each does, one after the other.
    actions: u32,
    /// Guards that one holds at once, at most.
    guards: u32,
    /// One in so many guards to write ends by a panic; none where this is zero.
    panics: u32,
    /// One in so many members dies; none where this is zero.
    deaths: u32,
}

pub(crate) const COMMUNITIES: &[(&str, Community)] = &[
    (
        "3 members that live",
        Community {
            members: 3,
            actions: 4,
            guards: 1,
            panics: 0,
            deaths: 0,
        },
    ),
    (
        "4 members that fill the table",
        Community {
            members: 4,
            actions: 3,
            guards: 3,
            panics: 0,
            deaths: 0,
        },
    ),
    (
        "3 members that panic",
        Community {
            members: 3,
            actions: 4,
            guards: 2,
            panics: 3,
            deaths: 0,
        },
    ),
    (
        "4 members that panic and die",
        Community {
            members: 4,
            actions: 3,
            guards: 2,
            panics: 6,
            deaths: 2,
        },
    ),
];

/// Who looks after the others.
const LAST: u64 = 62;
const ALL: Span = Span {
    start: 0,
    end: 64,
    pitch: 0,
    width: 0,
};

struct Scene {
    block: StateBlock,
    deaths: Deaths,
    // The checker's own, and so no place to change threads.
    ledger: Mutex<Ledger>,
}

impl Scene {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

pub(crate) fn run(community: Community) {
    let scene = Arc::new(Scene {
        block: block(0),
        deaths: Deaths::none(),
        ledger: Mutex::default(),
    });
    let members: Vec<_> = (1..=community.members)
        .map(|member| {
            let scene = scene.clone();
            thread::spawn(move || live_and_come_back(&scene, member, community))
        })
        .collect();
    members
        .into_iter()
        .for_each(|member| member.join().unwrap());
    let view = View::of(&scene.deaths);
    let records = scene
        .block
        .poisoned(patient(LAST, ALL, Mode::Read), &view)
        .unwrap();
    scene
        .ledger()
        .end(records.into_iter().map(|poison| poison.span));
    let slot = scene
        .block
        .recover(patient(LAST, ALL, Mode::Write), true, &view)
        .unwrap();
    scene.block.withdraw(slot);
    assert_empty(&scene.block);
}

/// A member that dies has a successor, under another id.
fn live_and_come_back(scene: &Scene, member: u64, community: Community) {
    let dies = community.deaths != 0 && thread_rng().gen_ratio(1, community.deaths);
    let at = if dies {
        thread_rng().gen_range(0..150)
    } else {
        u32::MAX
    };
    if dying(at, || {
        Member {
            scene,
            id: member,
            view: View::of(&scene.deaths),
            held: Vec::new(),
            community,
        }
        .live()
    })
    .is_none()
    {
        scene.ledger().died(member);
        scene.deaths.add(member);
        let id = member + community.members;
        Member {
            scene,
            id,
            view: View::of(&scene.deaths),
            held: Vec::new(),
            community,
        }
        .live();
    }
}

struct Member<'a> {
    scene: &'a Scene,
    id: u64,
    view: View<'a>,
    held: Vec<(usize, Mode)>,
    community: Community,
}

impl Member<'_> {
    fn live(mut self) {
        for _ in 0..self.community.actions {
            let span = any_view();
            match thread_rng().gen_range(0..10) {
                0 => self.recover(span),
                1 => {
                    _ = self
                        .scene
                        .block
                        .poisoned(self.request(span, Mode::Read), &self.view)
                }
                _ => self.take(span),
            }
            step();
            let keeps =
                (self.held.len() as u32) < self.community.guards && thread_rng().gen_bool(0.5);
            if !keeps && !self.held.is_empty() {
                let which = thread_rng().gen_range(0..self.held.len());
                self.end_guard(which);
            }
        }
        while !self.held.is_empty() {
            self.end_guard(0);
        }
    }

    /// Who holds a guard does not wait for another, as two that do could wait for each other.
    fn request(&self, span: Span, mode: Mode) -> Request {
        if self.held.is_empty() && thread_rng().gen_bool(0.8) {
            patient(self.id, span, mode)
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
        let at_once = self
            .scene
            .block
            .acquire_at_once(request.member, request.span, request.mode);
        match at_once.map_or_else(|| self.scene.block.acquire(request, &self.view), Ok) {
            Ok(slot) => {
                self.scene.ledger().given(self.id, slot, span, mode);
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
        match self.scene.block.recover(request, true, &self.view) {
            Ok(slot) => {
                self.scene.ledger().recovered(self.id, slot, span);
                self.hold(slot, Mode::Write);
            }
            Err(refusal) => self.check(refusal, request),
        }
    }

    fn hold(&mut self, slot: usize, mode: Mode) {
        self.held.push((slot, mode));
        self.view.own.set(self.view.own.get() | 1 << slot);
    }

    fn end_guard(&mut self, which: usize) {
        let (slot, mode) = self.held.swap_remove(which);
        self.view.own.set(self.view.own.get() & !(1 << slot));
        if mode == Mode::Write
            && self.community.panics != 0
            && thread_rng().gen_ratio(1, self.community.panics)
        {
            self.scene.ledger().poisoned(slot);
            self.scene.block.poison(slot, self.id);
        } else {
            self.scene.ledger().given_back(slot);
            self.scene.block.withdraw(slot);
        }
    }

    fn check(&self, refusal: Refusal, request: Request) {
        match refusal {
            Refusal::WouldBlock => {
                assert!(request.deadline.is_some(), "who waits for ever was refused")
            }
            Refusal::WouldDeadlock | Refusal::TooManyGuards => {
                assert!(!self.held.is_empty(), "{refusal:?} of who holds nothing")
            }
            Refusal::Poisoned(record) | Refusal::Interleaved(record) => {
                self.scene.ledger().refused(request.span, record.span)
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
