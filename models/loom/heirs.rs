//! Arrays that their owners hand over: an array has one owner and one deletion, and its owner
//! deletes it only after a process has opened and closed it.

use crate::{
    ALL, Model, UNORDERED,
    engine::{
        sync::atomic::{AtomicBool, Ordering::*},
        thread,
    },
    fixture::{Deaths, block},
    format::words::{CLAIMABLE, seal},
    scope::Scope,
    spawn,
    state::block::{StateBlock, lifecycle},
    state::ownership::Ownership,
    sync::dying,
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "a handed over array goes after it was opened and closed",
        owner_and_opener,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "of two openers of a handed over array one may inherit",
        owner_and_two_openers,
        UNORDERED,
        3,
    ),
    Model::new(
        "an array that is handed over twice stays for the second opener",
        owner_that_offers_anew,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "an heir that hands the array over loses nothing",
        heir_that_hands_over,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "an owner that gives up a hand-over keeps its right",
        owner_that_sets_its_scope,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "of a hand-over and a release one deletes",
        owner_and_release,
        UNORDERED,
        3,
    ),
    Model::new("an heir dies anywhere", opener_dies, UNORDERED, ALL).with_a_victim(),
    Model::new(
        "an owner that hands over dies anywhere",
        owner_dies,
        UNORDERED,
        ALL,
    )
    .with_a_victim(),
];

const OWNER: u64 = 3;

/// An array that member 3 owns and has offered.
struct Array {
    state: StateBlock,
    /// Whether an opener has begun to close it.
    is_closing: AtomicBool,
    deaths: Deaths,
}

impl Array {
    fn offered() -> (Arc<Self>, Ownership) {
        let array = Self {
            state: block(seal(OWNER)),
            is_closing: AtomicBool::new(false),
            deaths: Deaths::none(),
        };
        let mut owner = Ownership::created(Scope::Local);
        assert_eq!(owner.hand_over(&array.state, OWNER), Scope::Remote);
        (Arc::new(array), owner)
    }

    /// A process opens the array by the handle that was handed over, and uses it.
    fn open(&self, me: u64) -> Ownership {
        let mut ownership = Ownership::opened(&self.state, me);
        if ownership.receive(Scope::Remote, &self.state, me).is_some() {
            ownership.used();
        }
        ownership
    }

    /// Ends an ownership. Returns whether its process deletes the array.
    fn end(&self, mut ownership: Ownership, me: u64) -> bool {
        ownership.release_if_owned(&self.state, me, |member| !self.deaths.has(member))
    }

    /// The owner ends. Returns whether it deletes the array, which no process has open then that
    /// inherits it.
    fn end_owner(&self, ownership: Ownership) -> bool {
        let deletes = self.end(ownership, OWNER);
        assert!(
            !deletes || self.is_closing.load(Acquire),
            "deleted unopened, or under its heir"
        );
        deletes
    }

    fn open_and_close(&self, me: u64) -> bool {
        let ownership = self.open(me);
        self.is_closing.store(true, Release);
        self.end(ownership, me)
    }

    fn owner(&self) -> u64 {
        self.state.owner.load(SeqCst)
    }

    fn is_deleted(&self) -> bool {
        self.state.lifecycle.load(SeqCst) == lifecycle::RELEASED
    }
}

fn beside<R: 'static>(
    array: &Arc<Array>,
    action: impl FnOnce(&Array) -> R + 'static,
) -> thread::JoinHandle<R> {
    let array = array.clone();
    spawn(move || action(&array))
}

fn count(deletions: impl IntoIterator<Item = bool>) -> usize {
    deletions.into_iter().filter(|&deletes| deletes).count()
}

fn owner_and_opener(_: u32) {
    let (array, owner) = Array::offered();
    let opener = beside(&array, |array| array.open_and_close(1));
    let mine = array.end_owner(owner);
    assert_eq!(count([mine, opener.join().unwrap()]), 1);
}

fn owner_and_two_openers(_: u32) {
    let (array, owner) = Array::offered();
    let openers = [1, 2].map(|me| beside(&array, move |array| array.open_and_close(me)));
    let mine = array.end_owner(owner);
    let others = openers.map(|opener| opener.join().unwrap());
    assert_eq!(count([mine, others[0], others[1]]), 1);
}

fn owner_that_offers_anew(_: u32) {
    let (array, mut owner) = Array::offered();
    let first = beside(&array, |array| array.open_and_close(1));
    owner.hand_over(&array.state, OWNER);
    let mine = array.end_owner(owner);
    let first = first.join().unwrap();
    assert_eq!(count([mine, first, array.open_and_close(2)]), 1);
}

fn heir_that_hands_over(_: u32) {
    let (array, owner) = Array::offered();
    let heir = beside(&array, |array| {
        let mut ownership = array.open(1);
        let scope = ownership.hand_over(&array.state, 1);
        array.is_closing.store(true, Release);
        (scope, array.end(ownership, 1))
    });
    let mine = array.end_owner(owner);
    let (scope, others) = heir.join().unwrap();
    assert!(
        scope == Scope::Store || count([mine, others]) == 0,
        "deleted before it was opened"
    );
    assert_eq!(count([mine, others, array.open_and_close(2)]), 1);
}

fn owner_that_sets_its_scope(_: u32) {
    let (array, mut owner) = Array::offered();
    let opener = beside(&array, |array| array.open_and_close(1));
    owner.set(Scope::Local, &array.state, OWNER).unwrap();
    assert!(array.end(owner, OWNER) && !opener.join().unwrap());
}

fn owner_and_release(_: u32) {
    let (array, owner) = Array::offered();
    let opener = beside(&array, |array| array.open_and_close(1));
    let release = beside(&array, |array| {
        array.is_closing.store(true, Release);
        Ownership::opened(&array.state, 2).release(&array.state, 2)
    });
    let mine = array.end(owner, OWNER);
    assert_eq!(
        count([mine, opener.join().unwrap(), release.join().unwrap()]),
        1
    );
}

fn opener_dies(step: u32) {
    let (array, owner) = Array::offered();
    let victim = beside(&array, move |array| {
        let lived = dying(step, || array.open_and_close(1));
        if lived.is_none() {
            array.deaths.add(1);
        }
        lived
    });
    let mine = array.end(owner, OWNER);
    match victim.join().unwrap() {
        Some(others) => assert_eq!(count([mine, others]), 1),
        None if array.is_deleted() => {}
        // A sweep deletes it by its owner, or the next opener claims it.
        None => assert!([seal(1), CLAIMABLE].contains(&array.owner())),
    }
}

fn owner_dies(step: u32) {
    let (array, owner) = Array::offered();
    let victim = beside(&array, move |array| dying(step, || array.end(owner, OWNER)));
    let mine = array.open_and_close(1);
    match victim.join().unwrap() {
        Some(owners) => assert_eq!(count([mine, owners]), 1),
        None if mine || array.is_deleted() => assert!(array.is_deleted()),
        // A sweep deletes it, when the heir that closed it is gone too.
        None => assert!([seal(OWNER), seal(1)].contains(&array.owner())),
    }
}
