//! Deletion and recycling of an array's file: one owner, one deletion, and no process has a file
//! open that is rewritten.

use crate::{
    ALL, Model, ORDERED, UNORDERED,
    engine::{cell::Cell, thread},
    fixture::block,
    format::words::{CLAIMABLE, seal},
    scope::Scope,
    spawn,
    state::block::{StateBlock, lifecycle},
    state::ownership::Ownership,
    sync::{Ordering::SeqCst, dying},
};
use std::sync::Arc;

pub(crate) const MODELS: &[Model] = &[
    Model::new(
        "of two claimants one owns and deletes",
        two_claimants,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "of a claimant and a release one deletes",
        claimant_and_release,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "of two releases and the owner one deletes",
        two_releases_and_the_owner,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a claim that is given back can be taken again",
        give_back_and_claim,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "a claim that is given back after a release is gone",
        give_back_and_release,
        UNORDERED,
        ALL,
    ),
    Model::new(
        "an array that is taken back, or claimed, has one owner",
        take_back_and_claim,
        UNORDERED,
        ALL,
    ),
    Model::new("a claimant dies anywhere", claimant_dies, UNORDERED, ALL).with_a_victim(),
    Model::new(
        "a file that one process has open is not recycled",
        one_opener,
        ORDERED,
        ALL,
    ),
    Model::new(
        "a file that one of two processes has open is not recycled",
        two_openers,
        ORDERED,
        5,
    ),
    Model::new(
        "a file that a sweep has open is not recycled",
        sweeper,
        ORDERED,
        ALL,
    ),
    Model::new(
        "opening by name amid recycling gives one array or the other",
        opener_by_name,
        ORDERED,
        ALL,
    ),
    Model::new(
        "a file amid recycling is opened complete, or not at all",
        opener_of_half_a_file,
        UNORDERED,
        ALL,
    ),
    Model::new("an opener dies anywhere", opener_dies, ORDERED, ALL).with_a_victim(),
];

/// Opens the remote array, uses it and drops it. Returns whether the drop deletes it.
fn claim_and_end(state: &StateBlock, me: u64) -> bool {
    let mut ownership = Ownership::opened(state, me);
    if ownership.receive(Scope::Remote, state, me).is_some() {
        ownership.used();
    }
    ownership.release_if_owned(state, me, |_| true)
}

/// Opens the remote array and drops it without using it.
fn claim_and_give_back(state: &StateBlock, me: u64) {
    let mut ownership = Ownership::opened(state, me);
    if let Some(token) = ownership.receive(Scope::Remote, state, me) {
        ownership.give_back(token, state, me);
    }
    assert!(
        !ownership.release_if_owned(state, me, |_| true),
        "an array was deleted whose claim was given back"
    );
}

fn beside<R: 'static>(
    state: &Arc<StateBlock>,
    action: impl FnOnce(&StateBlock) -> R + 'static,
) -> thread::JoinHandle<R> {
    let state = state.clone();
    spawn(move || action(&state))
}

fn words(state: &StateBlock) -> (u64, u32) {
    (state.owner.load(SeqCst), state.lifecycle.load(SeqCst))
}

fn two_claimants(_: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let other = beside(&state, |state| claim_and_end(state, 1));
    let deletions = [claim_and_end(&state, 2), other.join().unwrap()];
    assert_eq!(deletions.into_iter().filter(|&deletes| deletes).count(), 1);
    assert_eq!(
        words(&state),
        (seal(if deletions[0] { 2 } else { 1 }), lifecycle::RELEASED)
    );
}

fn claimant_and_release(_: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let other = beside(&state, |state| claim_and_end(state, 1));
    let released = Ownership::opened(&state, 2).release(&state, 2);
    assert_eq!(u8::from(released) + u8::from(other.join().unwrap()), 1);
    assert_eq!(state.lifecycle.load(SeqCst), lifecycle::RELEASED);
}

fn two_releases_and_the_owner(_: u32) {
    let state = Arc::new(block(seal(3)));
    let others = [1, 2].map(|me| {
        beside(&state, move |state| {
            Ownership::opened(state, me).release(state, me)
        })
    });
    let mine = Ownership::created(Scope::Local).release_if_owned(&state, 3, |_| true);
    let deletions: u8 = others
        .map(|other| u8::from(other.join().unwrap()))
        .into_iter()
        .sum();
    assert_eq!(deletions + u8::from(mine), 1);
}

fn give_back_and_claim(_: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let other = beside(&state, |state| claim_and_give_back(state, 1));
    let deletes = claim_and_end(&state, 2);
    other.join().unwrap();
    assert_eq!(
        words(&state),
        if deletes {
            (seal(2), lifecycle::RELEASED)
        } else {
            (CLAIMABLE, lifecycle::READY)
        }
    );
}

fn give_back_and_release(_: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let other = beside(&state, |state| claim_and_give_back(state, 1));
    assert!(Ownership::opened(&state, 2).release(&state, 2));
    other.join().unwrap();
    assert_eq!(words(&state), (seal(2), lifecycle::RELEASED));
}

fn take_back_and_claim(_: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let other = beside(&state, |state| claim_and_end(state, 1));
    let mut ownership = Ownership::created(Scope::Remote);
    // Refused if the other process owns it, even for a moment.
    let is_mine = ownership.set(Scope::Local, &state, 2).is_ok();
    let mine = ownership.release_if_owned(&state, 2, |_| true);
    assert!(is_mine || !mine);
    assert_eq!(u8::from(mine) + u8::from(other.join().unwrap()), 1);
}

fn claimant_dies(step: u32) {
    let state = Arc::new(block(CLAIMABLE));
    let victim = beside(&state, move |state| dying(step, || claim_and_end(state, 1)));
    let mine = claim_and_end(&state, 2);
    match victim.join().unwrap() {
        Some(deletes) => assert_eq!(u8::from(mine) + u8::from(deletes), 1),
        None if mine => assert_eq!(words(&state), (seal(2), lifecycle::RELEASED)),
        // The dead process owned it: a sweep deletes it by the member id in the owner word.
        None => assert_eq!(state.owner.load(SeqCst), seal(1)),
    }
}

/// An array's file: its state block, and the id in its header.
struct ArrayFile {
    state: StateBlock,
    id: Cell<u32>,
}

// SAFETY: threads of a model run one at a time, and the cell reports accesses that are not ordered.
unsafe impl Sync for ArrayFile {}

const OLD: u32 = 1;
const NEW: u32 = 2;
/// Mappings of the owner.
const OWN: u32 = 1;

impl ArrayFile {
    /// A file with its owner's mapping.
    fn new() -> Arc<Self> {
        let file = Self {
            state: block(seal(3)),
            id: Cell::new(OLD),
        };
        file.state.count_in();
        Arc::new(file)
    }

    /// Opens the array `id`, or any array, reads it again and closes it. Returns whether it was
    /// opened.
    fn open(&self, id: Option<u32>, accepted: &[u32]) -> bool {
        let is_accepted = accepted.contains(&self.state.count_in());
        let found = is_accepted.then(|| self.id.get());
        let is_it = found.is_some() && (id.is_none() || found == id);
        if is_it {
            assert_eq!(Some(self.id.get()), found, "rewritten while it is open");
            let openers = self.state.openers.load(SeqCst);
            assert!(openers >= 1, "{openers} openers, this one included");
            assert_eq!(Some(self.id.get()), found, "rewritten while it is open");
        }
        self.state.count_out();
        is_it
    }

    /// The owner drops the array, and recycles its file if no other process has it open.
    fn end_and_recycle(&self) -> bool {
        assert!(Ownership::created(Scope::Local).release_if_owned(&self.state, 3, |_| true));
        let is_taken = self.state.begin_recycling(OWN);
        if is_taken {
            self.id.set(NEW);
            self.state.finish_recycling();
        }
        is_taken
    }

    fn check_end(&self, recycled: bool, uncounted: u32) {
        assert_eq!(
            self.state.lifecycle.load(SeqCst),
            if recycled {
                lifecycle::READY
            } else {
                lifecycle::RELEASED
            }
        );
        assert_eq!(self.state.generation.load(SeqCst), u64::from(recycled));
        assert_eq!(self.state.openers.load(SeqCst), OWN + uncounted);
        assert_eq!(self.open(Some(NEW), &[lifecycle::READY]), recycled);
    }
}

fn opener(file: &Arc<ArrayFile>, accepted: &'static [u32]) -> thread::JoinHandle<bool> {
    let file = file.clone();
    spawn(move || file.open(Some(OLD), accepted))
}

fn one_opener(_: u32) {
    let file = ArrayFile::new();
    let opener = opener(&file, &[lifecycle::READY]);
    let recycled = file.end_and_recycle();
    opener.join().unwrap();
    file.check_end(recycled, 0);
}

fn two_openers(_: u32) {
    let file = ArrayFile::new();
    let openers = [
        opener(&file, &[lifecycle::READY]),
        opener(&file, &[lifecycle::READY]),
    ];
    let recycled = file.end_and_recycle();
    openers
        .into_iter()
        .for_each(|opener| _ = opener.join().unwrap());
    file.check_end(recycled, 0);
}

/// A sweep opens released files too, and takes their names away: never that of a file that its
/// owner uses again.
fn sweeper(_: u32) {
    let file = ArrayFile::new();
    let sweep = file.clone();
    let sweeper = spawn(move || {
        let found = sweep.state.count_in();
        let is_there = found == lifecycle::READY || lifecycle::is_released(found);
        let deletes = is_there && sweep.state.begin_deletion();
        sweep.state.count_out();
        deletes
    });
    let recycled = file.end_and_recycle();
    let is_deleted = sweeper.join().unwrap();
    assert!(!(recycled && is_deleted), "the new array has no name");
    match is_deleted {
        true => assert_eq!(file.state.lifecycle.load(SeqCst), lifecycle::DELETED),
        false => file.check_end(recycled, 0),
    }
}

fn opener_by_name(_: u32) {
    let file = ArrayFile::new();
    let opener = file.clone();
    let opener = spawn(move || opener.open(None, &[lifecycle::READY]));
    let recycled = file.end_and_recycle();
    opener.join().unwrap();
    file.check_end(recycled, 0);
}

fn opener_of_half_a_file(_: u32) {
    let file = ArrayFile::new();
    assert!(
        Ownership::created(Scope::Local).release_if_owned(&file.state, 3, |_| true)
            && file.state.begin_recycling(OWN)
    );
    let opener = file.clone();
    let opener = spawn(move || opener.open(Some(NEW), &[lifecycle::READY]));
    file.id.set(NEW);
    file.state.finish_recycling();
    opener.join().unwrap();
    file.check_end(true, 0);
}

fn opener_dies(step: u32) {
    let file = ArrayFile::new();
    let victim = file.clone();
    let victim = spawn(move || dying(step, || victim.open(Some(OLD), &[lifecycle::READY])));
    let recycled = file.end_and_recycle();
    let lived = victim.join().unwrap().is_some();
    // A dead opener is counted for ever, unless it died before it counted itself.
    file.check_end(recycled, u32::from(!lived && step > 0));
}
