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
//! # Handing over
//!
//! The owner may let the first opener of a remote handle inherit the array
//! ([`Ownership::hand_over`]). Then the owner's last opening deletes it only if a process opened it
//! and has closed it again. See [`heir`].
//!
//! # Deletion
//!
//! The owner word becomes the deleter's ([`Ownership::release`]) or is so already
//! ([`Ownership::end`]). Then the lifecycle goes from ready to released by one compare-and-swap,
//! which exactly one process wins; the winner unlinks the file. If the winner dies before that, the
//! file is released and its owner is dead, so a sweep removes it.
//!
//! Nothing here touches files: the functions say what to do, and `segment` does it.

mod heir;

use crate::{
    format::words::{self, CLAIMABLE, NO_OWNER, Owner},
    scope::Scope,
    state::block::{StateBlock, lifecycle},
};
use heir::Accepted;
use std::sync::atomic::Ordering::SeqCst;

/// The right of this process to delete the array; one for all arrays and views of the file in the
/// process.
#[derive(Debug)]
pub(crate) struct Ownership {
    scope: Scope,
    claim: Option<Claim>,
    /// Number of claims taken so far: the source of tokens.
    claims: u64,
    /// Whether the heir word may name this process.
    is_heir: bool,
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
            is_heir: false,
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

    /// Notes it if the former owner has handed the array to this process.
    pub(crate) fn inherit(&mut self, state: &StateBlock, me: u64) {
        if self.is_heir && is_owner(state, me) && !heir::is_named(state, me) {
            self.is_heir = false;
            self.scope = Scope::Local;
        }
    }

    /// Lets the first opener of a remote handle inherit the array, if this process owns it. Returns
    /// the scope of such a handle.
    pub(crate) fn hand_over(&mut self, state: &StateBlock, me: u64) -> Scope {
        self.inherit(state, me);
        if self.scope != Scope::Local || !is_owner(state, me) {
            return self.scope;
        }
        heir::offer(state);
        failpoint!(HandOverOffered);
        Scope::Remote
    }

    /// Applies the transfer table for a handle of this scope. Returns a token if the opening shares
    /// a claim that is not used yet.
    pub(crate) fn receive(&mut self, handle: Scope, state: &StateBlock, me: u64) -> Option<u64> {
        if let Some(claim) = &mut self.claim {
            claim.openings += 1;
            return Some(claim.token);
        }
        failpoint!(ClaimWanted);
        if !handle.wants_claim() {
            return None;
        }
        if !self.claim(state, me) {
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

    /// Takes the array if it is claimable, and an offer up if there is one. Returns whether the
    /// array was claimed.
    fn claim(&mut self, state: &StateBlock, me: u64) -> bool {
        // The heir word first, the owner word afterwards: see `heir`.
        let accepted = heir::accept(state, me);
        self.is_heir |= accepted == Accepted::Heir;
        let mine = words::seal(me);
        let is_claimed = accepted == Accepted::Owner
            || (state.owner)
                .compare_exchange(CLAIMABLE, mine, SeqCst, SeqCst)
                .is_ok();
        if self.is_heir && is_claimed {
            self.is_heir = false;
            heir::renounce(state, me);
        }
        is_claimed
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
        // The new scope decides anew. The owner's offer ends before the owner word changes: an heir
        // must not delete an array that others may claim by now.
        let was_owner = is_owner(state, me);
        if was_owner {
            heir::withdraw(state);
        }
        heir::forget(state, me);
        let wanted = Self::owner_word(scope, me);
        let is_free = |owner| {
            owner == words::seal(me) || owner == CLAIMABLE || owner == NO_OWNER || is_damaged(owner)
        };
        let change = |owner| is_free(owner).then_some(wanted);
        failpoint!(ScopeWanted);
        match state.owner.fetch_update(SeqCst, SeqCst, change) {
            // A former owner may have died amid a hand-over.
            Ok(_) if !was_owner => heir::withdraw(state),
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
    /// process owns it and must delete the file, because no process inherits it.
    pub(crate) fn release_if_owned(
        &mut self,
        state: &StateBlock,
        me: u64,
        is_alive: impl Fn(u64) -> bool,
    ) -> bool {
        if self.is_heir {
            heir::renounce(state, me);
        }
        let may_own = self.scope == Scope::Local || self.is_heir;
        let owns = may_own && is_owner(state, me);
        (self.scope, self.is_heir) = (Scope::Store, false);
        owns && !heir::pass_on(state, me, is_alive) && mark_released(state)
    }

    /// Takes the array for deletion from any owner, and marks it released. Returns false if it was
    /// released before.
    pub(crate) fn release(&mut self, state: &StateBlock, me: u64) -> bool {
        if lifecycle::is_released(state.lifecycle.load(SeqCst)) {
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
mod tests;
