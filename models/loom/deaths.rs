//! A member dies at each of its accesses in turn, while another goes on: what it was writing is
//! poison, and everything else stays usable.

use crate::{
    Model, ORDERED,
    engine::thread,
    layout::span::Span,
    payload::Payload,
    scene::{Deaths, View, assert_empty, at_once, block, patient, span},
    state::block::StateBlock,
    state::lock_table::{Mode, Refusal, Request},
    sync::{Ordering::SeqCst, dying},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new("a writer dies anywhere", writer, ORDERED, 4).with_a_victim(),
    Model::new("a waiting writer dies anywhere", waiting_writer, ORDERED, 3).with_a_victim(),
    Model::new("a reader dies anywhere", reader, ORDERED, 4).with_a_victim(),
    Model::new("a recovery dies anywhere", recovery, ORDERED, 4).with_a_victim(),
    Model::new("who merges records dies anywhere", merge, ORDERED, 4).with_a_victim(),
    Model::new("who buries a dead writer dies anywhere", burial, ORDERED, 3).with_a_victim(),
    Model::new(
        "who takes the word of the dead dies anywhere",
        second_takeover,
        ORDERED,
        3,
    )
    .with_a_victim(),
    Model::new(
        "two take over the word of a dead holder",
        takeover,
        ORDERED,
        4,
    ),
    Model::new("two clear_dead the same dead", two_burials, ORDERED, 3),
];

const VICTIM: u64 = 1;
/// Died before the model began.
const DEAD: u64 = 9;

struct Scene {
    block: StateBlock,
    payload: Payload,
    deaths: Deaths,
}

impl Scene {
    fn new(is_half_written: bool) -> Arc<Self> {
        Arc::new(Self {
            block: block(0),
            payload: Payload::new(is_half_written),
            deaths: Deaths::none(),
        })
    }

    fn take(&self, request: Request) -> Result<usize, Refusal> {
        let at_once = self
            .block
            .acquire_at_once(request.member, request.span, request.mode);
        at_once.map_or_else(|| self.block.acquire(request, &View::of(&self.deaths)), Ok)
    }

    fn recover(&self, request: Request) -> Result<usize, Refusal> {
        self.block.recover(request, true, &View::of(&self.deaths))
    }

    fn write(&self, request: Request) -> Result<(), Refusal> {
        let slot = self.take(request)?;
        self.payload.write();
        self.block.withdraw(slot);
        Ok(())
    }

    /// Writes what is not poisoned, and recovers what is.
    fn write_or_recover(&self, member: u64, span: Span) {
        match self.write(patient(member, span, Mode::Write)) {
            Ok(()) => {}
            Err(Refusal::Poisoned(_)) => {
                let slot = self.recover(patient(member, span, Mode::Write)).unwrap();
                self.payload.overwrite();
                self.block.withdraw(slot);
            }
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Every byte of the span is in a record.
    fn assert_poisoned(&self, span: Span) {
        let records = self
            .block
            .poisoned(patient(8, span, Mode::Read), &View::of(&self.deaths))
            .unwrap();
        let mut covered = span.start;
        for record in &records {
            if record.span.start <= covered {
                covered = covered.max(record.span.end);
            }
        }
        assert!(covered >= span.end, "not all of {span:?} is in {records:?}");
    }

    /// What is half-written is poisoned. Then all of it is recovered, and nothing is left.
    fn end(&self) {
        if self.payload.is_half_written() {
            self.assert_poisoned(span(4, 8));
        }
        // Nobody is in the way of a dead member's intent but readers: they remove it, and so does
        // who asks for poison.
        self.block
            .poisoned(
                patient(8, span(0, 1000), Mode::Read),
                &View::of(&self.deaths),
            )
            .unwrap();
        let slot = self
            .recover(patient(8, span(0, 1000), Mode::Write))
            .unwrap();
        self.payload.overwrite();
        self.block.withdraw(slot);
        assert_empty(&self.block);
    }
}

/// Runs the victim's life beside the model, up to an access. True where it lived.
fn victim(
    scene: &Arc<Scene>,
    step: u32,
    life: impl FnOnce(&Scene) + 'static,
) -> thread::JoinHandle<bool> {
    let scene = scene.clone();
    thread::spawn(move || {
        let lived = dying(step, || life(&scene)).is_some();
        if !lived {
            scene.deaths.add(VICTIM);
        }
        lived
    })
}

fn writer(step: u32) {
    let scene = Scene::new(false);
    let victim = victim(&scene, step, |scene| {
        scene
            .write(patient(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    scene.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    scene.end();
}

fn waiting_writer(step: u32) {
    let scene = Scene::new(false);
    let slot = scene.take(at_once(2, span(0, 8), Mode::Read)).unwrap();
    let victim = victim(&scene, step, |scene| {
        scene
            .write(patient(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    scene.payload.read();
    scene.block.withdraw(slot);
    match scene.take(patient(2, span(0, 8), Mode::Read)) {
        Ok(slot) => {
            scene.payload.read();
            scene.block.withdraw(slot);
        }
        Err(refusal) => assert!(
            matches!(refusal, Refusal::Poisoned(record) if record.member == VICTIM),
            "{refusal:?}"
        ),
    }
    victim.join().unwrap();
    scene.end();
}

fn reader(step: u32) {
    let scene = Scene::new(false);
    let victim = victim(&scene, step, |scene| {
        let slot = scene.take(patient(VICTIM, span(0, 8), Mode::Read)).unwrap();
        scene.payload.read();
        scene.block.withdraw(slot);
    });
    // A reader's death poisons nothing.
    scene.write(patient(2, span(4, 12), Mode::Write)).unwrap();
    victim.join().unwrap();
    scene.end();
}

/// A record of poison.
fn poison(scene: &Scene, span: Span) {
    scene
        .block
        .poison(scene.take(at_once(DEAD, span, Mode::Write)).unwrap(), DEAD);
}

fn recovery(step: u32) {
    let scene = Scene::new(true);
    poison(&scene, span(0, 12));
    let victim = victim(&scene, step, |scene| {
        let slot = scene
            .recover(patient(VICTIM, span(4, 8), Mode::Write))
            .unwrap();
        scene.payload.overwrite();
        scene.block.withdraw(slot);
    });
    // What the recovery does not cover is poisoned at any time.
    let refused = scene.take(patient(2, span(0, 4), Mode::Read));
    assert!(matches!(refused, Err(Refusal::Poisoned(_))), "{refused:?}");
    if let Ok(slot) = scene.take(patient(2, span(4, 8), Mode::Read)) {
        scene.payload.read();
        scene.block.withdraw(slot);
    }
    victim.join().unwrap();
    scene.assert_poisoned(span(0, 4));
    scene.assert_poisoned(span(8, 12));
    scene.end();
}

fn merge(step: u32) {
    let scene = Scene::new(true);
    let records = [span(4, 8), span(40, 48), span(10, 20)];
    records
        .into_iter()
        .for_each(|record| poison(&scene, record));
    let victim = victim(&scene, step, |scene| {
        let slot = scene
            .take(patient(VICTIM, span(100, 108), Mode::Read))
            .unwrap();
        scene.block.withdraw(slot);
    });
    let refused = scene.take(patient(2, span(4, 8), Mode::Read));
    assert!(matches!(refused, Err(Refusal::Poisoned(_))), "{refused:?}");
    victim.join().unwrap();
    records
        .into_iter()
        .for_each(|record| scene.assert_poisoned(record));
    scene.end();
}

/// What a member that is dead left: the one slot of a writer.
fn left_by_the_dead(scene: &Scene) {
    scene.take(at_once(DEAD, span(0, 8), Mode::Write)).unwrap();
    scene.deaths.add(DEAD);
}

fn burial(step: u32) {
    let scene = Scene::new(true);
    left_by_the_dead(&scene);
    let victim = victim(&scene, step, |scene| {
        let refused = scene.take(patient(VICTIM, span(0, 8), Mode::Read));
        assert!(
            matches!(refused, Err(Refusal::Poisoned(record)) if record.member == DEAD),
            "{refused:?}"
        );
    });
    let refused = scene.take(patient(2, span(0, 8), Mode::Read));
    assert!(
        matches!(refused, Err(Refusal::Poisoned(record)) if record.member == DEAD),
        "{refused:?}"
    );
    victim.join().unwrap();
    scene.end();
}

fn second_takeover(step: u32) {
    let scene = Scene::new(false);
    scene.block.lock.store(DEAD, SeqCst);
    scene.deaths.add(DEAD);
    let victim = victim(&scene, step, |scene| {
        scene
            .write(patient(VICTIM, span(0, 8), Mode::Write))
            .unwrap()
    });
    scene.write_or_recover(2, span(4, 12));
    victim.join().unwrap();
    scene.end();
}

fn takeover(_: u32) {
    let scene = Scene::new(false);
    scene.block.lock.store(DEAD, SeqCst);
    scene.deaths.add(DEAD);
    let other = scene.clone();
    let other = thread::spawn(move || other.write(patient(2, span(0, 8), Mode::Write)));
    scene.write(patient(3, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn two_burials(_: u32) {
    let scene = Scene::new(false);
    left_by_the_dead(&scene);
    scene.take(at_once(DEAD, span(20, 30), Mode::Read)).unwrap();
    let clear_dead = |scene: &Scene, member| {
        // Where a reader died one writes at once, also where another buried it and took its slot.
        scene
            .write(patient(member, span(20, 28), Mode::Write))
            .unwrap();
        let refused = scene.take(patient(member, span(0, 8), Mode::Read));
        assert!(
            matches!(refused, Err(Refusal::Poisoned(record)) if record.member == DEAD && record.span == span(0, 8)),
            "{refused:?}"
        );
    };
    let other = scene.clone();
    let other = thread::spawn(move || clear_dead(&other, 2));
    clear_dead(&scene, 3);
    other.join().unwrap();
    assert_eq!(
        scene
            .block
            .poisoned(
                patient(3, span(0, 100), Mode::Read),
                &View::of(&scene.deaths)
            )
            .unwrap()
            .len(),
        1
    );
    scene.end();
}
