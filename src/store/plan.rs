//! What a sweep deletes, and why: the rules, and the list that they give.
//!
//! A plan is made without a lock, so it says what a sweep would delete now. The sweep executes the
//! plan and checks each step again under the lock that the step needs. `Observer::leftovers` shows
//! the plan, and `verify` applies the same rules to each file that it looks at.

use crate::{
    error::{Error, Result},
    format::words::Owner,
    state::{block::lifecycle, snapshot::StateSnapshot},
};
use std::{fmt, path::PathBuf};

/// The deletions of a sweep, and its refusals.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) deletions: Vec<PlannedDeletion>,
    /// Other files and directories that are left, although they look like leftovers or could not be
    /// judged, and why.
    pub(crate) skipped: Vec<(PathBuf, Error)>,
}

/// A file or a store that a sweep deletes.
#[derive(Debug)]
pub(crate) struct PlannedDeletion {
    pub(crate) path: PathBuf,
    pub(crate) reason: Reason,
    /// The arrays in a store, 1 for an array, 0 for a draft.
    pub(crate) arrays: usize,
    /// The drafts in a store, 0 for an array, 1 for a draft.
    pub(crate) drafts: usize,
    /// The bytes that the arrays and drafts take.
    pub(crate) bytes: u64,
}

/// The kind of thing that a planned deletion deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Store,
    Array,
    Draft,
}

/// Why a sweep deletes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The store is ephemeral, and has no living member.
    Deserted,
    /// The store is marked as closing, and has no living member.
    Closing,
    /// The store was renamed away to be deleted.
    RenamedAway,
    /// The store has the name of one that is being made. Whether its maker lives, only the sweep
    /// finds out, by the lock on the root.
    HalfBuilt,
    /// The array was released, and its file still has its name.
    Released,
    /// The member that owns the array is dead.
    OwnerDead(u64),
    /// The member that made the draft is dead.
    MakerDead(u64),
}

impl Reason {
    /// Why a sweep deletes a store that is in its place, if so.
    pub(crate) fn of_store(
        is_persistent: bool,
        is_closing: bool,
        has_members: bool,
    ) -> Option<Self> {
        if has_members {
            None
        } else if is_closing {
            Some(Self::Closing)
        } else if is_persistent {
            None
        } else {
            Some(Self::Deserted)
        }
    }

    /// Why a sweep deletes the array with this state block, if so.
    pub(crate) fn of_array(
        state: &StateSnapshot,
        is_alive: impl FnOnce(u64) -> Result<bool>,
    ) -> Result<Option<Self>> {
        match (state.lifecycle, Owner::of(state.owner)) {
            (found, _) if lifecycle::is_released(found) => Ok(Some(Self::Released)),
            (lifecycle::READY, Some(Owner::Member(owner))) => {
                Ok((!is_alive(owner)?).then_some(Self::OwnerDead(owner)))
            }
            // A damaged word deletes nothing.
            _ => Ok(None),
        }
    }

    /// Why a sweep deletes a draft of this member, if so.
    pub(crate) fn of_draft(
        maker: u64,
        is_alive: impl FnOnce(u64) -> Result<bool>,
    ) -> Result<Option<Self>> {
        Ok((!is_alive(maker)?).then_some(Self::MakerDead(maker)))
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Deserted | Self::Closing | Self::RenamedAway | Self::HalfBuilt => Kind::Store,
            Self::Released | Self::OwnerDead(_) => Kind::Array,
            Self::MakerDead(_) => Kind::Draft,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deserted => f.write_str("all its processes are gone: a sweep deletes it"),
            Self::Closing | Self::RenamedAway => f.write_str(
                "it is being deleted; if its closer was killed, a sweep goes on with that",
            ),
            Self::HalfBuilt => {
                f.write_str("it is being made; if its maker was killed, a sweep deletes it")
            }
            Self::Released => {
                f.write_str("it was released and still has its name: a sweep deletes it")
            }
            Self::OwnerDead(owner) => {
                write!(f, "its owner, member {owner}, is gone: a sweep deletes it")
            }
            Self::MakerDead(_) => {
                f.write_str("its maker died before it was complete: a sweep deletes it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{
            constants::{LIFECYCLE_AT, STATE_AT},
            words::{CLAIMABLE, seal},
        },
        state::block::StateBlock,
    };

    #[test]
    fn a_store_goes_where_it_has_no_member_and_is_ephemeral_or_closing() {
        for (is_persistent, is_closing, has_members, expected) in [
            (false, false, true, None),
            (false, true, true, None),
            (true, false, true, None),
            (true, true, true, None),
            (false, false, false, Some(Reason::Deserted)),
            (false, true, false, Some(Reason::Closing)),
            (true, false, false, None),
            (true, true, false, Some(Reason::Closing)),
        ] {
            let found = Reason::of_store(is_persistent, is_closing, has_members);
            assert_eq!(
                found, expected,
                "{is_persistent} {is_closing} {has_members}"
            );
        }
    }

    #[test]
    fn an_array_goes_where_it_was_released_or_its_owner_is_dead() {
        for (state, owner, expected) in [
            (lifecycle::READY, 0, None),
            (lifecycle::READY, CLAIMABLE, None),
            (lifecycle::READY, seal(1), None),
            (lifecycle::READY, seal(2), Some(Reason::OwnerDead(2))),
            (lifecycle::READY, 2, None),
            (lifecycle::RELEASED, 0, Some(Reason::Released)),
            (lifecycle::RELEASED, seal(1), Some(Reason::Released)),
            (lifecycle::RELEASED, seal(2), Some(Reason::Released)),
            (lifecycle::DELETED, seal(1), Some(Reason::Released)),
            (lifecycle::RECYCLING, seal(2), None),
            (lifecycle::UNREADY, seal(2), None),
            (7, seal(2), None),
        ] {
            let mut block = StateBlock::initial(owner, 1);
            block[LIFECYCLE_AT - STATE_AT..][..4].copy_from_slice(&state.to_ne_bytes());
            let found = Reason::of_array(&StateSnapshot::of(&block), |member| Ok(member == 1));
            assert_eq!(found.unwrap(), expected, "{state} {owner}");
        }
    }
}
