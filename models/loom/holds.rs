//! Guards that keep a mapping while the last handle is dropped: the mapping ends once, after the
//! last use of it.

use crate::{ALL, Model, UNORDERED, payload::Payload, spawn, sync, sys::holds::Holds};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "the owner, another thread or the last handle ends the mapping",
        |_| guards_and_the_last_handle([(1, 1), (2, 2)]),
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a guard that another thread took is given back by the owner",
        |_| guards_and_the_last_handle([(2, 1), (1, 2)]),
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a thread that asks late finds the holds with another mapping",
        |_| a_late_question(),
        UNORDERED,
        ALL,
    ),
    Model::new(
        "without a fence in the giving thread a mapping stays",
        |_| without_a_fence(),
        UNORDERED,
        ALL,
    )
    .that_fails(),
];

/// A mapping: it is read until it is ended.
struct Mapping {
    payload: Payload,
    ends: AtomicU32,
}

/// The holds of several mappings, one after the other.
struct World {
    holds: Holds<usize>,
    mappings: [Mapping; 2],
}

impl World {
    fn new() -> Arc<Self> {
        let mapping = || Mapping {
            payload: Payload::new(false),
            ends: AtomicU32::new(0),
        };
        Arc::new(Self {
            holds: Holds::new(),
            mappings: [mapping(), mapping()],
        })
    }

    fn read_and_give_back(&self, mapping: usize, thread: u32) -> bool {
        self.mappings[mapping].payload.read();
        self.end(self.holds.give_back(thread))
    }

    /// Ends a mapping: no use of it may come later, or beside it.
    fn end(&self, mapping: Option<usize>) -> bool {
        if let Some(mapping) = mapping {
            let mapping = &self.mappings[mapping];
            mapping.payload.overwrite();
            mapping.ends.fetch_add(1, SeqCst);
        }
        mapping.is_some()
    }

    fn expect_ends(&self, ends: [u32; 2]) {
        let found = self.mappings.each_ref().map(|one| one.ends.load(SeqCst));
        assert_eq!(found, ends);
    }
}

/// The numbers of the threads that take the guard and give it back.
fn guards_and_the_last_handle(guards: [(u32, u32); 2]) {
    let world = World::new();
    for (taker, _) in guards {
        world.holds.take(taker);
    }
    let threads = guards.map(|(_, giver)| {
        let world = world.clone();
        spawn(move || _ = world.read_and_give_back(0, giver))
    });
    world.end(world.holds.close(0));
    for thread in threads {
        thread.join().unwrap();
    }
    world.expect_ends([1, 0]);
}

fn a_late_question() {
    let world = World::new();
    world.holds.take(1);
    let late = world.clone();
    let late = spawn(move || _ = late.read_and_give_back(0, 1));
    let is_next = world.end(world.holds.close(0));
    if is_next {
        world.holds.take(2);
        world.end(world.holds.close(1));
        world.read_and_give_back(1, 2);
    }
    late.join().unwrap();
    world.expect_ends([1, u32::from(is_next)]);
}

fn without_a_fence() {
    sync::leave_out_light_fences(true);
    let _with_fences = WithFences;
    guards_and_the_last_handle([(1, 1), (2, 2)]);
}

/// Sets the fences again, after a failure too.
struct WithFences;

impl Drop for WithFences {
    fn drop(&mut self) {
        sync::leave_out_light_fences(false);
    }
}
