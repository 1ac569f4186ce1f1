//! Guards of members that live: they exclude each other, and nobody sleeps on who could go on. A
//! sleep ends by a wake-up only.

use crate::{
    ALL, Model, ORDERED, UNORDERED,
    engine::thread,
    payload::Payload,
    scene::{Deaths, View, assert_empty, at_once, block, patient, span},
    state::block::StateBlock,
    state::lock_table::{Mode, Refusal, Request},
    sync::{Instant, Ordering::SeqCst},
};
use std::{sync::Arc, time::Duration};

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "writers exclude each other, without waiting",
        writers_at_once,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a reader and a writer exclude each other, without waiting",
        reader_and_writer_at_once,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a guard that is given back wakes who waits for it",
        handover,
        ORDERED,
        ALL,
    ),
    Model::new(
        "two guards that are given back wake who waits for both",
        two_guards,
        ORDERED,
        5,
    ),
    Model::new("two writers take turns", two_writers, ORDERED, ALL),
    Model::new(
        "a reader and a writer take turns",
        reader_and_writer,
        ORDERED,
        ALL,
    ),
    Model::new("three writers take turns", three_writers, ORDERED, 1),
    Model::new(
        "a guard that is given back wakes all who wait for it",
        two_waiters,
        ORDERED,
        2,
    ),
    Model::new(
        "a waiting writer becomes one before a new reader, or behind it",
        intent_and_new_reader,
        ORDERED,
        4,
    ),
    Model::new(
        "a waiting writer that gives up wakes the readers it kept out",
        intent_withdrawn,
        ORDERED,
        3,
    ),
    Model::new(
        "a slot that is given back wakes who waits for one",
        full_table,
        ORDERED,
        ALL,
    ),
    Model::new(
        "a panic wakes who waits, and refuses",
        panic_wakes,
        ORDERED,
        ALL,
    ),
    Model::new(
        "an acquirer sees the poison, or what was recovered",
        recovery_and_acquirer,
        ORDERED,
        ALL,
    ),
    Model::new(
        "two recoveries of one record take turns",
        two_recoveries,
        ORDERED,
        ALL,
    ),
    Model::new("freezing wakes who waits for it", freezing, ORDERED, ALL),
];

/// What threads share.
struct Scene {
    block: StateBlock,
    payload: Payload,
    deaths: Deaths,
}

impl Scene {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            block: block(0),
            payload: Payload::new(false),
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

    fn read(&self, request: Request) -> Result<(), Refusal> {
        let slot = self.take(request)?;
        self.payload.read();
        self.block.withdraw(slot);
        Ok(())
    }
}

fn beside<R: 'static>(
    scene: &Arc<Scene>,
    action: impl FnOnce(&Scene) -> R + 'static,
) -> thread::JoinHandle<R> {
    let scene = scene.clone();
    thread::spawn(move || action(&scene))
}

fn writers_at_once(_: u32) {
    let scene = Scene::new();
    let other = beside(&scene, |scene| {
        scene.write(at_once(1, span(0, 8), Mode::Write))
    });
    let mine = scene.write(at_once(2, span(4, 12), Mode::Write));
    let other = other.join().unwrap();
    assert!(mine.is_ok() || other.is_ok(), "{mine:?} {other:?}");
    assert_empty(&scene.block);
}

fn reader_and_writer_at_once(_: u32) {
    let scene = Scene::new();
    let other = beside(&scene, |scene| {
        scene.read(at_once(1, span(0, 8), Mode::Read))
    });
    let mine = scene.write(at_once(2, span(4, 12), Mode::Write));
    let other = other.join().unwrap();
    assert!(mine.is_ok() || other.is_ok(), "{mine:?} {other:?}");
    assert_empty(&scene.block);
}

fn handover(_: u32) {
    let scene = Scene::new();
    let slot = scene.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let waiter = beside(&scene, |scene| {
        scene.write(patient(2, span(0, 8), Mode::Write))
    });
    scene.payload.write();
    scene.block.withdraw(slot);
    waiter.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn two_guards(_: u32) {
    let scene = Scene::new();
    // The first wake-up may come between what the waiter does before it sleeps, and is too early.
    let slots =
        [span(0, 4), span(4, 8)].map(|span| scene.take(at_once(1, span, Mode::Write)).unwrap());
    let waiter = beside(&scene, |scene| {
        scene.write(patient(2, span(0, 8), Mode::Write))
    });
    scene.payload.write();
    slots
        .into_iter()
        .for_each(|slot| scene.block.withdraw(slot));
    waiter.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn two_writers(_: u32) {
    let scene = Scene::new();
    let other = beside(&scene, |scene| {
        scene.write(patient(1, span(0, 8), Mode::Write))
    });
    scene.write(patient(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn reader_and_writer(_: u32) {
    let scene = Scene::new();
    let other = beside(&scene, |scene| {
        scene.read(patient(1, span(0, 8), Mode::Read))
    });
    scene.write(patient(2, span(4, 12), Mode::Write)).unwrap();
    other.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn three_writers(_: u32) {
    let scene = Scene::new();
    let others = [1, 2].map(|member| {
        beside(&scene, move |scene| {
            scene.write(patient(member, span(0, 8), Mode::Write))
        })
    });
    scene.write(patient(3, span(4, 12), Mode::Write)).unwrap();
    others
        .into_iter()
        .for_each(|other| other.join().unwrap().unwrap());
    assert_empty(&scene.block);
}

fn two_waiters(_: u32) {
    let scene = Scene::new();
    let slot = scene.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let readers = [2, 3].map(|member| {
        beside(&scene, move |scene| {
            scene.read(patient(member, span(0, 8), Mode::Read))
        })
    });
    scene.payload.write();
    scene.block.withdraw(slot);
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap().unwrap());
    assert_empty(&scene.block);
}

fn intent_and_new_reader(_: u32) {
    let scene = Scene::new();
    let slot = scene.take(at_once(1, span(0, 8), Mode::Read)).unwrap();
    let writer = beside(&scene, |scene| {
        scene.write(patient(2, span(0, 8), Mode::Write))
    });
    scene.payload.read();
    scene.block.withdraw(slot);
    scene.read(patient(1, span(0, 8), Mode::Read)).unwrap();
    writer.join().unwrap().unwrap();
    assert_empty(&scene.block);
}

fn intent_withdrawn(_: u32) {
    let scene = Scene::new();
    // Held until the others are done: the writer gets nothing, and the reader must not wait for it
    // any longer.
    let slot = scene.take(at_once(1, span(0, 8), Mode::Read)).unwrap();
    let writer = beside(&scene, |scene| {
        let soon = Request {
            deadline: Some(Instant::now() + Duration::from_millis(1)),
            ..patient(2, span(0, 8), Mode::Write)
        };
        scene.write(soon)
    });
    let reader = beside(&scene, |scene| {
        scene.read(patient(3, span(0, 8), Mode::Read))
    });
    assert_eq!(writer.join().unwrap(), Err(Refusal::WouldBlock));
    reader.join().unwrap().unwrap();
    scene.block.withdraw(slot);
    assert_empty(&scene.block);
}

fn full_table(_: u32) {
    let scene = Scene::new();
    let slots = [0, 1, 2, 3].map(|i| scene.take(at_once(1, span(i, i + 1), Mode::Write)).unwrap());
    let other = beside(&scene, |scene| {
        scene.read(patient(2, span(8, 16), Mode::Read))
    });
    scene.block.withdraw(slots[2]);
    other.join().unwrap().unwrap();
    [0, 1, 3]
        .into_iter()
        .for_each(|i| scene.block.withdraw(slots[i]));
    assert_empty(&scene.block);
}

fn panic_wakes(_: u32) {
    let scene = Scene::new();
    let slot = scene.take(at_once(1, span(0, 8), Mode::Write)).unwrap();
    let reader = beside(&scene, |scene| {
        scene.read(patient(2, span(0, 8), Mode::Read))
    });
    scene.block.poison(slot, 1);
    let refused = reader.join().unwrap();
    assert!(
        matches!(refused, Err(Refusal::Poisoned(record)) if record.span == span(0, 8)),
        "{refused:?}"
    );
}

/// A record of poison that covers what is half-written.
fn poisoned() -> Arc<Scene> {
    let scene = Arc::new(Scene {
        block: block(0),
        payload: Payload::new(true),
        deaths: Deaths::none(),
    });
    let slot = scene.take(at_once(1, span(0, 16), Mode::Write)).unwrap();
    scene.block.poison(slot, 1);
    scene
}

fn recovery_and_acquirer(_: u32) {
    let scene = poisoned();
    let other = beside(&scene, |scene| {
        scene.write(patient(2, span(4, 12), Mode::Write))
    });
    let slot = scene.recover(patient(3, span(4, 12), Mode::Write)).unwrap();
    scene.payload.overwrite();
    scene.block.withdraw(slot);
    let other = other.join().unwrap();
    assert!(
        matches!(other, Ok(()) | Err(Refusal::Poisoned(_))),
        "{other:?}"
    );
    // What the recovery did not cover stays as it was.
    for rest in [span(0, 4), span(12, 16)] {
        let refused = scene.take(at_once(3, rest, Mode::Read));
        assert!(
            matches!(refused, Err(Refusal::Poisoned(record)) if record.span == rest),
            "{refused:?}"
        );
    }
}

fn two_recoveries(_: u32) {
    let scene = poisoned();
    let recover = |scene: &Scene, member| {
        let slot = scene
            .recover(patient(member, span(0, 16), Mode::Write))
            .unwrap();
        scene.payload.overwrite();
        scene.block.withdraw(slot);
    };
    let other = beside(&scene, move |scene| recover(scene, 2));
    recover(&scene, 3);
    other.join().unwrap();
    assert_empty(&scene.block);
}

fn freezing(_: u32) {
    let scene = Scene::new();
    let waiter = beside(&scene, |scene| {
        scene.block.wait_until(None, || {
            (scene.block.frozen.load(SeqCst) == 1).then_some(())
        })
    });
    scene.block.frozen.store(1, SeqCst);
    scene.block.wake();
    assert_eq!(waiter.join().unwrap(), Ok(()));
}
