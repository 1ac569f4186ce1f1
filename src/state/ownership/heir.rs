//! # Heirs
//!
//! An owner whose handle travels may end before the handle is opened, or soon after. So the owner
//! can offer the array: then the process that opens it first inherits it. The heir word of the
//! state block stands beside the owner word:
//!
//! | heir word | meaning |
//! | --- | --- |
//! | 0 | no offer is open: the owner deletes the array with its last opening |
//! | `OFFERED` | the owner offered the array, and no process opened it by a remote handle since |
//! | a member id | this process opened it first, and has it open |
//! | `passed` and a member id | this owner ended before any process opened the array |
//! | any other word | damage: the end of the owner deletes nothing |
//!
//! # An offer that no process took up
//!
//! The owner that ends and an opener change the heir word from `OFFERED`, by compare-and-swap, so
//! one of them is first and decides:
//!
//! ```text
//! owner    heir from OFFERED to passed(owner), then owner word from owner to claimable
//! opener   heir from OFFERED to opener: it is the heir
//! ```
//!
//! An opener may come between the owner's two steps. It finds `passed(x)` and the owner word of x,
//! and claims the array from x by compare-and-swap. A word `passed(x)` says nothing once the owner
//! word names another process or none. So x ends it before it owns the array again.
//!
//! # An heir
//!
//! ```text
//! owner   owner word from owner to heir, then heir word from heir to 0
//! heir    heir word from heir to 0, then looks at the owner word
//! ```
//!
//! Each changes one word before it looks at the other, so they cannot miss each other. If the
//! owner's second step succeeds, the heir owns the array from then on. If it fails, the heir has
//! closed the array: the owner takes the owner word back and looks again. An heir that closes the
//! array between the two steps deletes it, because the owner would do so next. The lifecycle
//! decides which of the two does.
//!
//! # Deaths
//!
//! An owner that dies leaves an array of a dead owner, for a sweep, or one of the heir. The heir
//! may have closed it a moment before: then the array stays until the heir's process or the store
//! ends. An heir that dies before the owner is none: the owner asks. One that dies later is a dead
//! owner.

use super::is_owner;
use crate::{
    format::words::{self, CLAIMABLE, Heir, NO_HEIR, OFFERED},
    state::block::StateBlock,
    sync::AtomicU64,
};
use std::sync::atomic::Ordering::SeqCst;

/// How often a process looks at the heir word. More changes than these come only from a hostile
/// block.
const ROUNDS: usize = 8;

/// What an opener of a remote handle got by the heir word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    Nothing,
    /// It inherits the array if it has the array open when the owner ends.
    Heir,
    /// It owns the array: the owner has ended.
    Owner,
}

/// Offers the array to the next opener of a remote handle. The caller owns it.
pub(super) fn offer(state: &StateBlock) {
    state.heir.swap(OFFERED, SeqCst);
}

/// Ends an offer, and the right of an heir.
pub(super) fn withdraw(state: &StateBlock) {
    state.heir.swap(NO_HEIR, SeqCst);
}

/// Takes an offer up. An opening in the owner's own process ends the offer. The caller looks at the
/// owner word afterwards.
pub(super) fn accept(state: &StateBlock, me: u64) -> Accepted {
    let mine = words::seal(me);
    for _ in 0..ROUNDS {
        // Loaded before it is changed: most arrays were never offered, and their openers write
        // nothing.
        match Heir::of(state.heir.load(SeqCst)) {
            Some(Heir::Offered) if is_owner(state, me) => {
                replace(&state.heir, OFFERED, NO_HEIR);
            }
            Some(Heir::Offered) => {
                if replace(&state.heir, OFFERED, mine) {
                    failpoint!(HeirNamed);
                    return Accepted::Heir;
                }
            }
            Some(Heir::Passed(owner)) if owner == me => forget(state, me),
            Some(Heir::Passed(owner)) => {
                let is_mine = replace(&state.owner, words::seal(owner), mine);
                return match is_mine {
                    true => Accepted::Owner,
                    false => Accepted::Nothing,
                };
            }
            _ => break,
        }
    }
    Accepted::Nothing
}

/// Ends the note that this process passed the array on: it is about to own the array again.
pub(super) fn forget(state: &StateBlock, me: u64) {
    replace(&state.heir, words::passed(me), NO_HEIR);
}

/// Whether this process is the heir. If the owner word names it too, the owner has not come to its
/// second step yet, or has died before it.
pub(super) fn is_named(state: &StateBlock, me: u64) -> bool {
    state.heir.load(SeqCst) == words::seal(me)
}

/// Ends the right of this process, if it is the heir.
pub(super) fn renounce(state: &StateBlock, me: u64) {
    replace(&state.heir, words::seal(me), NO_HEIR);
    failpoint!(HeirRenounced);
}

/// Ends the ownership of this process, whose last opening ends. Returns false if no process
/// inherits the array and this one still owns it.
pub(super) fn pass_on(state: &StateBlock, me: u64, is_alive: impl Fn(u64) -> bool) -> bool {
    let mine = words::seal(me);
    for _ in 0..ROUNDS {
        let word = state.heir.load(SeqCst);
        match Heir::of(word) {
            // A damaged word deletes nothing.
            None => return true,
            Some(Heir::None | Heir::Passed(_)) => return false,
            Some(Heir::Offered) => {
                if replace(&state.heir, OFFERED, words::passed(me)) {
                    failpoint!(HandOverPassed);
                    // Fails if an opener was faster.
                    replace(&state.owner, mine, CLAIMABLE);
                    failpoint!(HandOverClaimable);
                    return true;
                }
            }
            Some(Heir::Member(member)) if member == me || !is_alive(member) => {
                replace(&state.heir, word, NO_HEIR);
            }
            Some(Heir::Member(_)) => {
                if !replace(&state.owner, mine, word) {
                    return true;
                }
                failpoint!(HandOverHeirOwns);
                if replace(&state.heir, word, NO_HEIR) {
                    failpoint!(HandOverDone);
                    return true;
                }
                if !replace(&state.owner, word, mine) {
                    return true;
                }
            }
        }
    }
    !is_owner(state, me)
}

fn replace(word: &AtomicU64, from: u64, to: u64) -> bool {
    word.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
}
