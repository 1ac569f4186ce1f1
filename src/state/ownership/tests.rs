//! Tests of the ownership, on a state block in a mapped scratch file.

use super::*;
use crate::{
    format::words::{NO_HEIR, OFFERED},
    sys::mapping::Mapping,
};

const ME: u64 = 3;
const OTHER: u64 = 4;
const THIRD: u64 = 5;
const MINE: u64 = words::seal(ME);
const OTHERS: u64 = words::seal(OTHER);

/// A state block in a mapped scratch file.
fn block(owner: u64) -> Mapping {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let mapping = Mapping::new(&file, 4096, std::path::Path::new("scratch")).unwrap();
    mapping.state().owner.store(owner, SeqCst);
    mapping.state().lifecycle.store(lifecycle::READY, SeqCst);
    mapping
}

/// The heir word of an array that this process passed on.
const PASSED_ON: u64 = words::passed(ME);

fn lives(_: u64) -> bool {
    true
}

/// An array that its owner, this process, has offered.
fn offered() -> (Mapping, Ownership) {
    let block = block(MINE);
    let mut mine = Ownership::created(Scope::Local);
    assert_eq!(mine.hand_over(block.state(), ME), Scope::Remote);
    (block, mine)
}

/// The ownership of another process that opens a remote handle.
fn opened_by(member: u64, state: &StateBlock) -> Ownership {
    let mut ownership = Ownership::opened(state, member);
    ownership.receive(Scope::Remote, state, member);
    ownership
}

fn words(state: &StateBlock) -> (u64, u64, u32) {
    (
        state.owner.load(SeqCst),
        state.heir.load(SeqCst),
        state.lifecycle.load(SeqCst),
    )
}

#[test]
fn the_transfer_table_holds() {
    for (owner, handle, expected, left) in [
        (OTHERS, Scope::Local, Scope::Store, OTHERS),
        (MINE, Scope::Local, Scope::Local, MINE),
        (CLAIMABLE, Scope::Remote, Scope::Local, MINE),
        (OTHERS, Scope::Remote, Scope::Store, OTHERS),
        (0, Scope::Remote, Scope::Store, 0),
        (0, Scope::Store, Scope::Store, 0),
        (CLAIMABLE, Scope::Local, Scope::Store, CLAIMABLE),
        (CLAIMABLE, Scope::Store, Scope::Store, CLAIMABLE),
    ] {
        let block = block(owner);
        let mut ownership = Ownership::opened(block.state(), ME);
        ownership.receive(handle, block.state(), ME);
        assert_eq!(
            (ownership.scope(), block.state().owner.load(SeqCst)),
            (expected, left),
            "{owner} {handle}"
        );
    }
}

#[test]
fn an_unused_claim_goes_back_with_its_last_opening_and_a_used_one_deletes() {
    let block = block(CLAIMABLE);
    let state = block.state();
    let mut ownership = Ownership::opened(state, ME);
    let token = ownership.receive(Scope::Remote, state, ME).unwrap();
    assert_eq!(ownership.receive(Scope::Remote, state, ME), Some(token));
    ownership.give_back(token, state, ME);
    assert_eq!(
        (ownership.scope(), state.owner.load(SeqCst)),
        (Scope::Local, MINE)
    );
    ownership.give_back(token, state, ME);
    assert_eq!(
        (ownership.scope(), state.owner.load(SeqCst)),
        (Scope::Store, CLAIMABLE)
    );
    let token = ownership.receive(Scope::Remote, state, ME).unwrap();
    ownership.used();
    ownership.give_back(token, state, ME);
    assert_eq!(ownership.scope(), Scope::Local);
    assert!(ownership.release_if_owned(state, ME, lives));
    assert_eq!(state.lifecycle.load(SeqCst), lifecycle::RELEASED);
}

#[test]
fn a_late_opening_does_not_give_back_a_later_claim() {
    let block = block(CLAIMABLE);
    let state = block.state();
    let mut ownership = Ownership::opened(state, ME);
    let first = ownership.receive(Scope::Remote, state, ME).unwrap();
    ownership.set(Scope::Remote, state, ME).unwrap();
    let second = ownership.receive(Scope::Remote, state, ME).unwrap();
    ownership.give_back(first, state, ME);
    assert_eq!(
        (ownership.scope(), state.owner.load(SeqCst)),
        (Scope::Local, MINE)
    );
    ownership.give_back(second, state, ME);
    assert_eq!(
        (ownership.scope(), state.owner.load(SeqCst)),
        (Scope::Remote, CLAIMABLE)
    );
}

#[test]
fn what_another_process_owns_is_neither_taken_nor_deleted() {
    let block = block(OTHERS);
    let state = block.state();
    let mut ownership = Ownership::opened(state, ME);
    assert_eq!(ownership.set(Scope::Local, state, ME), Err(Owned));
    assert_eq!(ownership.set(Scope::Remote, state, ME), Err(Owned));
    assert_eq!(ownership.set(Scope::Store, state, ME), Ok(()));
    assert!(!ownership.release_if_owned(state, ME, lives));
    assert_eq!(state.owner.load(SeqCst), OTHERS);
}

#[test]
fn a_release_ends_the_owner_s_right_to_delete() {
    let block = block(MINE);
    let state = block.state();
    let (mut owner, mut other) = (
        Ownership::created(Scope::Local),
        Ownership::opened(state, OTHER),
    );
    assert!(other.release(state, OTHER));
    assert!(!other.release(state, OTHER));
    assert!(!owner.release_if_owned(state, ME, lives));
}

#[test]
fn a_damaged_owner_word_names_no_process_until_one_sets_the_scope() {
    for bit in 0..u64::BITS {
        let block = block(MINE ^ 1 << bit);
        let state = block.state();
        let mut mine = Ownership::created(Scope::Local);
        assert!(!mine.release_if_owned(state, ME, lives), "{bit}");
        let mut other = Ownership::opened(state, OTHER);
        assert_eq!(other.receive(Scope::Remote, state, OTHER), None);
        assert_eq!(other.scope(), Scope::Store);
        assert_eq!(state.owner.load(SeqCst), MINE ^ 1 << bit);
        other.set(Scope::Store, state, OTHER).unwrap();
        assert_eq!(state.owner.load(SeqCst), NO_OWNER);
    }
}

#[test]
fn an_array_that_was_handed_over_and_never_opened_is_the_first_opener_s() {
    let (block, mut mine) = offered();
    let state = block.state();
    assert!(!mine.release_if_owned(state, ME, lives));
    assert_eq!(words(state), (CLAIMABLE, PASSED_ON, lifecycle::READY));
    let (mut first, mut second) = (opened_by(OTHER, state), opened_by(THIRD, state));
    assert_eq!(
        (first.scope(), second.scope()),
        (Scope::Local, Scope::Store)
    );
    first.used();
    assert!(!second.release_if_owned(state, THIRD, lives));
    assert!(first.release_if_owned(state, OTHER, lives));
    assert_eq!(words(state), (OTHERS, PASSED_ON, lifecycle::RELEASED));
}

#[test]
fn an_opener_between_the_two_steps_of_an_owner_that_ends_claims_the_array() {
    let (block, _) = offered();
    let state = block.state();
    state.heir.store(PASSED_ON, SeqCst);
    let mut other = opened_by(OTHER, state);
    other.used();
    assert_eq!(words(state), (OTHERS, PASSED_ON, lifecycle::READY));
    assert_eq!(opened_by(THIRD, state).scope(), Scope::Store);
    assert!(other.release_if_owned(state, OTHER, lives));
}

#[test]
fn an_owner_that_passed_the_array_on_may_own_and_hand_it_over_again() {
    for sets in [false, true] {
        let (block, mut mine) = offered();
        let state = block.state();
        assert!(!mine.release_if_owned(state, ME, lives));
        match sets {
            true => mine.set(Scope::Local, state, ME).unwrap(),
            false => mine = opened_by(ME, state),
        }
        mine.used();
        assert_eq!(words(state), (MINE, 0, lifecycle::READY));
        assert_eq!(opened_by(OTHER, state).scope(), Scope::Store);
        assert_eq!(mine.hand_over(state, ME), Scope::Remote);
        assert!(!mine.release_if_owned(state, ME, lives));
        assert_eq!(opened_by(OTHER, state).scope(), Scope::Local);
    }
}

#[test]
fn an_array_that_was_handed_over_opened_and_closed_goes_with_its_owner() {
    let (block, mut mine) = offered();
    let state = block.state();
    assert!(!opened_by(OTHER, state).release_if_owned(state, OTHER, lives));
    assert_eq!(words(state), (MINE, 0, lifecycle::READY));
    assert!(mine.release_if_owned(state, ME, lives));
}

#[test]
fn an_opener_that_has_the_array_open_when_its_owner_ends_inherits_it() {
    let (block, mut mine) = offered();
    let state = block.state();
    let mut heir = opened_by(OTHER, state);
    heir.inherit(state, OTHER);
    assert_eq!(heir.scope(), Scope::Store, "the owner has it still");
    assert_eq!(heir.hand_over(state, OTHER), Scope::Store);
    assert!(!mine.release_if_owned(state, ME, lives));
    assert_eq!(words(state), (OTHERS, 0, lifecycle::READY));
    heir.inherit(state, OTHER);
    assert_eq!(heir.scope(), Scope::Local);
    assert!(heir.release_if_owned(state, OTHER, lives));
}

#[test]
fn an_heir_that_never_asked_for_its_scope_deletes_the_array_too() {
    let (block, mut mine) = offered();
    let state = block.state();
    let mut heir = opened_by(OTHER, state);
    assert!(!mine.release_if_owned(state, ME, lives));
    assert!(heir.release_if_owned(state, OTHER, lives));
}

#[test]
fn a_dead_heir_inherits_nothing() {
    let (block, mut mine) = offered();
    let state = block.state();
    opened_by(OTHER, state);
    assert_eq!(words(state), (MINE, OTHERS, lifecycle::READY));
    assert!(mine.release_if_owned(state, ME, |member| member != OTHER));
    assert_eq!(words(state), (MINE, 0, lifecycle::RELEASED));
}

#[test]
fn of_several_openers_the_first_inherits() {
    let (block, mut mine) = offered();
    let state = block.state();
    let (_first, mut second) = (opened_by(OTHER, state), opened_by(THIRD, state));
    assert!(!second.release_if_owned(state, THIRD, lives));
    assert!(!mine.release_if_owned(state, ME, lives));
    assert_eq!(words(state), (OTHERS, 0, lifecycle::READY));
}

#[test]
fn an_array_is_handed_over_as_often_as_it_is_offered() {
    let (block, mut mine) = offered();
    let state = block.state();
    let mut first = opened_by(OTHER, state);
    assert_eq!(mine.hand_over(state, ME), Scope::Remote);
    assert!(!mine.release_if_owned(state, ME, lives));
    assert!(!first.release_if_owned(state, OTHER, lives));
    assert_eq!(
        words(state),
        (CLAIMABLE, PASSED_ON, lifecycle::READY),
        "the second handle was not opened"
    );
}

#[test]
fn the_owner_s_own_opening_ends_the_offer() {
    let (block, mut mine) = offered();
    let state = block.state();
    mine.receive(Scope::Remote, state, ME);
    assert_eq!(words(state), (MINE, 0, lifecycle::READY));
    assert!(mine.release_if_owned(state, ME, lives));
}

#[test]
fn an_opening_that_wants_no_claim_leaves_the_offer_open() {
    let (block, mut mine) = offered();
    let state = block.state();
    for scope in [Scope::Local, Scope::Store] {
        Ownership::opened(state, OTHER).receive(scope, state, OTHER);
    }
    assert!(!mine.release_if_owned(state, ME, lives));
    assert_eq!(words(state), (CLAIMABLE, PASSED_ON, lifecycle::READY));
}

#[test]
fn a_change_of_the_scope_ends_the_offer() {
    for scope in [Scope::Local, Scope::Remote, Scope::Store] {
        let (block, mut mine) = offered();
        let state = block.state();
        mine.set(scope, state, ME).unwrap();
        assert_eq!(state.heir.load(SeqCst), 0, "{scope}");
        assert_eq!(
            mine.release_if_owned(state, ME, lives),
            scope == Scope::Local
        );
    }
    // The former owner died amid its end.
    let (block, _) = offered();
    let state = block.state();
    state.owner.store(CLAIMABLE, SeqCst);
    let mut other = Ownership::opened(state, OTHER);
    other.set(Scope::Local, state, OTHER).unwrap();
    assert!(other.release_if_owned(state, OTHER, lives));
}

#[test]
fn only_the_owner_hands_an_array_over() {
    for (owner, scope) in [
        (OTHERS, Scope::Store),
        (OTHERS, Scope::Local),
        (CLAIMABLE, Scope::Remote),
        (0, Scope::Store),
    ] {
        let block = block(owner);
        let mut ownership = Ownership::created(scope);
        assert_eq!(ownership.hand_over(block.state(), ME), scope);
        assert_eq!(words(block.state()), (owner, 0, lifecycle::READY));
    }
}

#[test]
fn an_array_that_was_handed_over_and_released_is_deleted_once() {
    let (block, mut mine) = offered();
    let state = block.state();
    let mut heir = opened_by(OTHER, state);
    assert!(mine.release(state, ME));
    assert!(!mine.release_if_owned(state, ME, lives));
    assert!(!heir.release_if_owned(state, OTHER, lives));
}

#[test]
fn a_damaged_heir_word_deletes_nothing_until_the_owner_writes_it_anew() {
    for word in [NO_HEIR, OFFERED, OTHERS] {
        for bit in 0..u64::BITS {
            let (block, mut mine) = offered();
            let state = block.state();
            state.heir.store(word ^ 1 << bit, SeqCst);
            let mut other = opened_by(OTHER, state);
            assert!(!other.release_if_owned(state, OTHER, lives));
            assert!(!mine.release_if_owned(state, ME, lives), "{word} {bit}");
            let left = (MINE, word ^ 1 << bit, lifecycle::READY);
            assert_eq!(words(state), left);
            let mut mine = Ownership::created(Scope::Local);
            mine.set(Scope::Local, state, ME).unwrap();
            assert!(mine.release_if_owned(state, ME, lives));
        }
    }
}
