//! A store at one path that processes make, close and sweep: the steps of the library's
//! `store::closing` on a file system that is a map. No living store is ever renamed away.

use crate::{
    ALL, Model, UNORDERED,
    engine::{
        sync::{Condvar, Mutex},
        thread,
    },
    store::closing::{self, Inode, Place},
    sync::{dying, step},
};
use std::{cell::Cell, convert::Infallible, sync::Arc};

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "two closers and a maker rename no living store away",
        two_closers_and_a_maker,
        UNORDERED,
        4,
    ),
    Model::new(
        "a closer, a sweep and a maker rename no living store away",
        closer_sweep_and_maker,
        UNORDERED,
        4,
    ),
    Model::new(
        "two makers at the path of a dead closer make one store",
        two_makers_after_a_death,
        UNORDERED,
        ALL,
    ),
    Model::new("a closer dies anywhere", closer_dies, UNORDERED, 3).with_a_victim(),
    Model::new("a maker dies anywhere", maker_dies, UNORDERED, 2).with_a_victim(),
    Model::new(
        "without the closing lock a living store is renamed away",
        without_the_lock,
        UNORDERED,
        4,
    )
    .that_fails(),
    Model::new(
        "without the look at the inode a living store is renamed away",
        without_the_look,
        UNORDERED,
        4,
    )
    .that_fails(),
];

/// A part of the protocol that a model leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    Lock,
    Look,
}

/// A store, called by the inode of its lock file: the place in `Files::stores`.
#[derive(Default)]
struct Store {
    is_closing: bool,
    /// A process holds the closing lock.
    is_locked: bool,
}

/// The directory around the path.
#[derive(Default)]
struct Files {
    stores: Vec<Store>,
    /// The store at the path.
    at_path: Option<usize>,
    /// The stores that were renamed away.
    gone: Vec<usize>,
}

struct World {
    files: Mutex<Files>,
    unlocked: Condvar,
    without: Without,
}

impl World {
    /// A world with one store at the path, of which all processes are members.
    fn new(without: Without) -> Arc<Self> {
        let files = Files {
            stores: vec![Store::default()],
            at_path: Some(FIRST),
            gone: Vec::new(),
        };
        Arc::new(Self {
            files: Mutex::new(files),
            unlocked: Condvar::new(),
            without,
        })
    }

    /// One system call: a victim dies before it.
    fn call<R>(&self, call: impl FnOnce(&mut Files) -> R) -> R {
        step();
        call(&mut self.files.lock().unwrap())
    }

    fn close(&self, store: usize) {
        if self.call(|files| files.at_path != Some(store)) {
            return;
        }
        self.call(|files| files.stores[store].is_closing = true);
        self.remove(store);
    }

    fn remove(&self, store: usize) {
        let away = Away {
            world: self,
            store,
            moved: Cell::new(None),
        };
        match closing::rename_away(&away, inode(store)) {
            Ok(true) => self.empty(store),
            Ok(false) => {}
        }
    }

    fn empty(&self, store: usize) {
        self.call(|files| files.gone.retain(|&gone| gone != store));
    }

    /// The store at the path, or a new one.
    fn open_or_make(&self) -> usize {
        loop {
            match self.call(|files| files.at_path.map(|store| (store, files.is_closing(store)))) {
                Some((store, false)) => return store,
                Some((store, true)) => self.remove(store),
                None => {
                    // A rename that never replaces.
                    let made = self.call(|files| {
                        files.at_path.is_none().then(|| {
                            files.stores.push(Store::default());
                            files.at_path = Some(files.stores.len() - 1);
                        })
                    });
                    if made.is_none() {
                        thread::yield_now();
                    }
                }
            }
        }
    }

    fn sweep(&self) {
        let (gone, at_path) = self.call(|files| {
            let at_path = files.at_path.filter(|&store| files.is_closing(store));
            (files.gone.clone(), at_path)
        });
        gone.into_iter().for_each(|store| self.empty(store));
        at_path.into_iter().for_each(|store| self.remove(store));
    }

    /// After all processes have ended, a sweep leaves nothing but a store that is open.
    fn check_end(&self) {
        self.sweep();
        let files = self.files.lock().unwrap();
        assert_eq!(files.gone, [], "stores that stay away");
        assert!(files.at_path.is_none_or(|store| !files.is_closing(store)));
    }
}

impl Files {
    fn is_closing(&self, store: usize) -> bool {
        self.stores[store].is_closing
    }
}

const FIRST: usize = 0;

fn inode(store: usize) -> Inode {
    (0, store as u64)
}

/// The closer of one store.
struct Away<'a> {
    world: &'a World,
    store: usize,
    /// The store that it renamed away.
    moved: Cell<Option<usize>>,
}

/// The closing lock of a store; the death of its holder frees it.
struct Closing<'a> {
    world: &'a World,
    store: usize,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        if let Ok(mut files) = self.world.files.lock() {
            files.stores[self.store].is_locked = false;
        }
        self.world.unlocked.notify_all();
    }
}

impl<'a> Place for Away<'a> {
    type Lock = Option<Closing<'a>>;
    type Error = Infallible;

    fn lock(&self) -> Result<Self::Lock, Infallible> {
        let Self { world, store, .. } = *self;
        if world.without == Without::Lock {
            return Ok(None);
        }
        step();
        let mut files = world.files.lock().unwrap();
        while files.stores[store].is_locked {
            files = world.unlocked.wait(files).unwrap();
        }
        files.stores[store].is_locked = true;
        Ok(Some(Closing { world, store }))
    }

    fn found(&self) -> Result<Option<Inode>, Infallible> {
        Ok(match self.world.without {
            Without::Look => Some(inode(self.store)),
            _ => self.world.call(|files| files.at_path).map(inode),
        })
    }

    fn rename_away(&self) -> Result<bool, Infallible> {
        let moved = self.world.call(|files| {
            let moved = files.at_path.take();
            files.gone.extend(moved);
            moved.map(|store| (store, files.is_closing(store)))
        });
        if let Some((store, is_closing)) = moved {
            assert!(is_closing, "store {store} lives and was renamed away");
            self.moved.set(Some(store));
        }
        Ok(moved.is_some())
    }

    fn found_away(&self) -> Result<Option<Inode>, Infallible> {
        // A sweep may have emptied it.
        let is_there = |store: &usize| self.world.call(|files| files.gone.contains(store));
        Ok(self.moved.get().filter(is_there).map(inode))
    }

    fn put_back(&self) -> Result<(), Infallible> {
        unreachable!("no user moves directories here")
    }
}

fn beside(world: &Arc<World>, action: fn(&World)) -> thread::JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || action(&world))
}

fn close_two_and_make(without: Without) {
    let world = World::new(without);
    let closer = beside(&world, |world| world.close(FIRST));
    let maker = beside(&world, |world| _ = world.open_or_make());
    world.close(FIRST);
    closer.join().unwrap();
    maker.join().unwrap();
    world.check_end();
}

fn two_closers_and_a_maker(_: u32) {
    close_two_and_make(Without::Nothing);
}

fn without_the_lock(_: u32) {
    close_two_and_make(Without::Lock);
}

fn without_the_look(_: u32) {
    close_two_and_make(Without::Look);
}

fn closer_sweep_and_maker(_: u32) {
    let world = World::new(Without::Nothing);
    let sweep = beside(&world, World::sweep);
    let maker = beside(&world, |world| {
        let store = world.open_or_make();
        world.close(store);
    });
    world.close(FIRST);
    sweep.join().unwrap();
    maker.join().unwrap();
    world.check_end();
}

fn two_makers_after_a_death(_: u32) {
    let world = World::new(Without::Nothing);
    // The closer died after it had marked the store.
    world.call(|files| files.stores[FIRST].is_closing = true);
    let maker = beside(&world, |world| _ = world.open_or_make());
    let mine = world.open_or_make();
    maker.join().unwrap();
    assert_eq!(world.open_or_make(), mine, "two makers have two stores");
    world.check_end();
}

fn closer_dies(at: u32) {
    let world = World::new(Without::Nothing);
    let victim = world.clone();
    let victim = thread::spawn(move || _ = dying(at, || victim.close(FIRST)));
    let maker = beside(&world, |world| _ = world.open_or_make());
    world.close(FIRST);
    victim.join().unwrap();
    maker.join().unwrap();
    world.check_end();
}

/// It finishes the deletion of a dead closer, and dies amid that.
fn maker_dies(at: u32) {
    let world = World::new(Without::Nothing);
    world.call(|files| files.stores[FIRST].is_closing = true);
    let victim = world.clone();
    let victim = thread::spawn(move || _ = dying(at, || _ = victim.open_or_make()));
    let sweep = beside(&world, World::sweep);
    let store = world.open_or_make();
    world.close(store);
    victim.join().unwrap();
    sweep.join().unwrap();
    world.check_end();
}
