//! Rows that members append, one after the other: a reader sees whole rows only, a death leaves no
//! gap, and no wake-up of an appender or a reader is lost.

use crate::{
    Model, ORDERED,
    engine::thread,
    fixture::Deaths,
    payload::Payload,
    spawn,
    state::growth::Growth,
    sync::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed},
        dying,
    },
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "two appenders and a reader: every row once, and whole",
        |_| appenders_and_a_reader(u32::MAX),
        ORDERED,
        2,
    ),
    Model::new(
        "of two appenders one dies anywhere, beside a reader",
        appenders_and_a_reader,
        ORDERED,
        1,
    )
    .with_a_victim(),
    Model::new(
        "three appenders: a sleeper is woken for its turn by the one before it",
        |_| three_appenders(),
        ORDERED,
        2,
    ),
    Model::new(
        "two readers sleep, and one is woken",
        |_| two_readers(),
        ORDERED,
        2,
    ),
    Model::new("an appender dies anywhere", an_appender_dies, ORDERED, 4).with_a_victim(),
    Model::new(
        "two openers after another boot: one starts the words again",
        two_openers,
        ORDERED,
        4,
    )
    .with_a_victim(),
    Model::new(
        "a length that comes before its row shows half of it",
        |_| length_first(),
        ORDERED,
        2,
    )
    .that_fails(),
];

const OLD: [u64; 2] = [1, 2];
const NEW: [u64; 2] = [3, 4];

/// An array of three rows.
struct World {
    words: Growth,
    rows: [Payload; 3],
    deaths: Deaths,
}

impl World {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let half = || AtomicU32::new(0);
        Arc::new(Self {
            words: Growth {
                appender: word(),
                committed: word(),
                reserved: word(),
                flushed: word(),
                boot: [AtomicU64::new(OLD[0]), AtomicU64::new(OLD[1])],
                grown: half(),
                waiting: half(),
                pid: half(),
                freed: half(),
            },
            rows: std::array::from_fn(|_| Payload::new(false)),
            deaths: Deaths::none(),
        })
    }

    fn take_turn(&self, me: u64) {
        let is_alive = |member| !self.deaths.has(member);
        let taken = self.words.take(me, None, is_alive, |_| true);
        assert_eq!(taken, Ok(()));
    }

    /// Appends a row, and returns its index.
    fn append(&self, me: u64) -> u64 {
        self.take_turn(me);
        let row = self.words.committed.load(Relaxed);
        self.rows[row as usize].overwrite();
        self.words.commit(row + 1);
        self.words.give_back();
        row
    }

    /// Waits for a row, and reads all that are there.
    fn read(&self) -> u64 {
        let found = self.words.wait_for(None, |_| {
            let rows = self.words.committed.load(Acquire);
            (rows > 0).then_some(rows)
        });
        let rows = found.unwrap();
        self.rows[..rows as usize].iter().for_each(Payload::read);
        rows
    }
}

fn beside<R: 'static>(
    world: &Arc<World>,
    action: impl FnOnce(&World) -> R + 'static,
) -> thread::JoinHandle<R> {
    let world = world.clone();
    spawn(move || action(&world))
}

/// The part of a member that may die.
fn mortal<R>(world: &World, me: u64, step: u32, life: impl FnOnce() -> R) -> Option<R> {
    let lived = dying(step, life);
    if lived.is_none() {
        world.deaths.add(me);
    }
    lived
}

fn appenders_and_a_reader(step: u32) {
    let world = World::new();
    let victim = beside(&world, move |world| {
        mortal(world, 1, step, || world.append(1))
    });
    let reader = beside(&world, World::read);
    let mine = world.append(2);
    let theirs = victim.join().unwrap();
    assert_ne!(theirs, Some(mine), "one row was appended twice");
    let seen = reader.join().unwrap();
    let rows = world.words.committed.load(Acquire);
    assert!(seen <= rows);
    assert!(
        rows == 2 || theirs.is_none() && rows == 1 && mine == 0,
        "{rows} rows"
    );
    world.rows[..rows as usize].iter().for_each(Payload::read);
}

fn three_appenders() {
    let world = World::new();
    let others = [1, 2].map(|me| beside(&world, move |world| world.append(me)));
    let mine = world.append(3);
    let mut rows = others.map(|other| other.join().unwrap()).to_vec();
    rows.push(mine);
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2]);
}

fn two_readers() {
    let world = World::new();
    let readers = [(); 2].map(|()| beside(&world, World::read));
    world.append(1);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 1);
    }
}

fn an_appender_dies(step: u32) {
    let world = World::new();
    let victim = beside(&world, move |world| {
        mortal(world, 1, step, || world.append(1))
    });
    let mine = [world.append(2), world.append(2)];
    let theirs = victim.join().unwrap();
    assert!(mine[0] < mine[1]);
    let rows = world.words.committed.load(Acquire);
    // A row that was committed stays, though its appender died before it gave the turn back.
    assert!(rows == 3 || theirs.is_none() && rows == 2, "{rows} rows");
    world.rows[..rows as usize].iter().for_each(Payload::read);
}

/// Two rows of which one was flushed. Both openers append a row behind it.
fn two_openers(step: u32) {
    let world = World::new();
    world.words.commit(2);
    world.words.flushed_up_to(1);
    let open_and_append = |world: &World, me| {
        if !world.words.is_of(NEW) {
            world.take_turn(me);
            world.words.restart(NEW, 0, 3);
            world.words.give_back();
        }
        world.append(me)
    };
    let victim = beside(&world, move |world| {
        mortal(world, 1, step, || open_and_append(world, 1))
    });
    let mine = open_and_append(&world, 2);
    let theirs = victim.join().unwrap();
    let rows = world.words.committed.load(Acquire);
    assert!(mine >= 1 && theirs.is_none_or(|row| row >= 1 && row != mine));
    assert!(rows == 3 || theirs.is_none() && rows == 2, "{rows} rows");
}

fn length_first() {
    let world = World::new();
    let appender = beside(&world, |world| {
        world.take_turn(1);
        world.words.commit(1);
        world.rows[0].overwrite();
        world.words.give_back();
    });
    world.read();
    appender.join().unwrap();
}
