//! # Ownership
//!
//! The right to delete an array. One process has one [`Ownership`] for each array file, shared by
//! all its arrays and views of the file. All processes share the owner word of the state block, the
//! only authority:
//!
//! | owner word | meaning | scope of the creator |
//! | --- | --- | --- |
//! | a member id | that process deletes the array with its last opening | `Local` |
//! | `CLAIMABLE` | the next opener of a remote handle may claim the array | `Remote` |
//! | 0 | none: the end of the store or a `release` deletes the array | `Store` |
//! | any other word | damage: no process owns the array until one sets its scope | |
//!
//! A member id stands in the word with its check ([`words::seal`]), so damage makes no other id.
//!
//! # Claims
//!
//! Opening a remote handle tries one compare-and-swap from `CLAIMABLE` to the opener's id. The
//! winner's scope is `Local`, every other opener's is `Store`. Claiming is the last step of
//! opening. A claim is given back when the last opening that shares it is dropped unused: the word
//! becomes `CLAIMABLE` again, by compare-and-swap, because another process may have released the
//! array meanwhile. The first read, write, view, change of scope or release makes it permanent.
//!
//! # Deletion
//!
//! The owner word becomes the deleter's ([`Ownership::release`]) or is so already
//! ([`Ownership::end`]). Then the lifecycle goes from ready to released by one compare-and-swap,
//! which exactly one process wins; the winner unlinks the file. If the winner dies before that, the
//! file is released and its owner is dead, so a sweep removes it.
//!
//! Nothing here touches files: the functions say what to do, and `segment` does it.

use crate::{
    format::words::{self, CLAIMABLE, NO_OWNER, Owner},
    scope::Scope,
    state::block::{StateBlock, lifecycle},
};
use std::sync::atomic::Ordering::SeqCst;

/// The right of this process to delete the array; one for all arrays and views of the file in the
/// process.
#[derive(Debug)]
pub(crate) struct Ownership {
    scope: Scope,
    claim: Option<Claim>,
    /// Number of claims taken so far: the source of tokens.
    claims: u64,
}

/// A claim that an opening of a remote handle took, not used yet.
#[derive(Debug)]
struct Claim {
    /// Distinguishes this claim from earlier ones of the process.
    token: u64,
    /// Openings that share it.
    openings: usize,
    /// The scope that the process returns to when it gives the claim back.
    before: Scope,
}

/// Another process owns the array.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Owned;

impl Ownership {
    /// The ownership of the process that created the array.
    pub(crate) fn created(scope: Scope) -> Self {
        Self {
            scope,
            claim: None,
            claims: 0,
        }
    }

    /// The ownership of a process that opens the array for the first time, before it applies the
    /// handle's scope.
    pub(crate) fn opened(state: &StateBlock, me: u64) -> Self {
        Self::created(Scope::Store.received(is_owner(state, me)))
    }

    /// The owner word that a creator of this scope writes into the file.
    pub(crate) fn owner_word(scope: Scope, me: u64) -> u64 {
        match scope {
            Scope::Local => words::seal(me),
            Scope::Remote => CLAIMABLE,
            Scope::Store => NO_OWNER,
        }
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// Applies the transfer table for a handle of this scope. Returns a token if the opening shares
    /// a claim that is not used yet.
    pub(crate) fn receive(&mut self, handle: Scope, state: &StateBlock, me: u64) -> Option<u64> {
        if let Some(claim) = &mut self.claim {
            claim.openings += 1;
            return Some(claim.token);
        }
        failpoint!(ClaimWanted);
        if !handle.wants_claim()
            || state
                .owner
                .compare_exchange(CLAIMABLE, words::seal(me), SeqCst, SeqCst)
                .is_err()
        {
            return None;
        }
        failpoint!(ClaimTaken);
        self.claims += 1;
        self.claim = Some(Claim {
            token: self.claims,
            openings: 1,
            before: self.scope,
        });
        self.scope = handle.received(true);
        Some(self.claims)
    }

    /// Makes an unused claim permanent: the array is used.
    pub(crate) fn used(&mut self) {
        self.claim = None;
    }

    /// Drops one opening that shares a claim. The last one gives the unused claim back.
    pub(crate) fn give_back(&mut self, token: u64, state: &StateBlock, me: u64) {
        let Some(claim) = self.claim.as_mut().filter(|claim| claim.token == token) else {
            return;
        };
        claim.openings -= 1;
        if claim.openings == 0 {
            self.scope = claim.before;
            self.claim = None;
            // Fails if another process released the array meanwhile: the claim then no longer
            // exists.
            failpoint!(GiveBackWanted);
            let mine = words::seal(me);
            let _ = state
                .owner
                .compare_exchange(mine, CLAIMABLE, SeqCst, SeqCst);
            failpoint!(GiveBackDone);
        }
    }

    /// Changes the scope: which process deletes the array. Any process may replace a damaged owner
    /// word.
    pub(crate) fn set(&mut self, scope: Scope, state: &StateBlock, me: u64) -> Result<(), Owned> {
        if scope == Scope::Store
            && self.scope == Scope::Store
            && !is_damaged(state.owner.load(SeqCst))
        {
            // Nothing changes for this process, and the owner word is not its to change: the array
            // may be claimable.
            return Ok(());
        }
        let wanted = Self::owner_word(scope, me);
        let is_free = |owner| {
            owner == words::seal(me) || owner == CLAIMABLE || owner == NO_OWNER || is_damaged(owner)
        };
        let change = |owner| is_free(owner).then_some(wanted);
        failpoint!(ScopeWanted);
        match state.owner.fetch_update(SeqCst, SeqCst, change) {
            Ok(_) => {}
            // Another process owns the array and keeps it; this one's scope becomes Store.
            Err(_) if scope == Scope::Store => {}
            Err(_) => return Err(Owned),
        }
        failpoint!(ScopeChanged);
        self.claim = None;
        self.scope = scope;
        Ok(())
    }

    /// Gives up the right to delete: another `Ownership` of the process has it.
    pub(crate) fn abandon(&mut self) {
        self.scope = Scope::Store;
    }

    /// Ends an array that was never published: marks it released, and deletes nothing.
    pub(crate) fn discard(&mut self, state: &StateBlock) {
        self.abandon();
        mark_released(state);
    }

    /// Ends the last opening of the process. Marks the array released and returns true if this
    /// process owns it and must delete the file.
    pub(crate) fn release_if_owned(&mut self, state: &StateBlock, me: u64) -> bool {
        let owns = self.scope == Scope::Local && is_owner(state, me);
        self.scope = Scope::Store;
        owns && mark_released(state)
    }

    /// Takes the array for deletion from any owner, and marks it released. Returns false if it was
    /// released before.
    pub(crate) fn release(&mut self, state: &StateBlock, me: u64) -> bool {
        if state.lifecycle.load(SeqCst) == lifecycle::RELEASED {
            return false;
        }
        state.owner.swap(words::seal(me), SeqCst);
        failpoint!(ReleaseOwnerTaken);
        self.claim = None;
        self.scope = Scope::Store;
        mark_released(state)
    }
}

/// Whether the owner word names this member.
pub(crate) fn is_owner(state: &StateBlock, me: u64) -> bool {
    state.owner.load(SeqCst) == words::seal(me)
}

fn mark_released(state: &StateBlock) -> bool {
    state
        .lifecycle
        .compare_exchange(lifecycle::READY, lifecycle::RELEASED, SeqCst, SeqCst)
        .is_ok()
}

/// Whether a word is none that an owner word can have.
fn is_damaged(owner: u64) -> bool {
    Owner::of(owner).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mapping::Mapping;

    const ME: u64 = 3;
    const OTHER: u64 = 4;
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
        assert!(ownership.release_if_owned(state, ME));
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
        assert!(!ownership.release_if_owned(state, ME));
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
        assert!(!owner.release_if_owned(state, ME));
    }

    #[test]
    fn a_damaged_owner_word_names_no_process_until_one_sets_the_scope() {
        for bit in 0..u64::BITS {
            let block = block(MINE ^ 1 << bit);
            let state = block.state();
            let mut mine = Ownership::created(Scope::Local);
            assert!(!mine.release_if_owned(state, ME), "{bit}");
            let mut other = Ownership::opened(state, OTHER);
            assert_eq!(other.receive(Scope::Remote, state, OTHER), None);
            assert_eq!(other.scope(), Scope::Store);
            assert_eq!(state.owner.load(SeqCst), MINE ^ 1 << bit);
            other.set(Scope::Store, state, OTHER).unwrap();
            assert_eq!(state.owner.load(SeqCst), NO_OWNER);
        }
    }
}
