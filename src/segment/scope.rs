//! The scope of an array in this process: which process deletes the array, and how that changes.

use super::Segment;
use crate::{
    error::{Error, Result},
    scope::Scope,
    sys::fork,
};

impl Segment {
    /// This process's scope; a forked child owns nothing.
    pub(crate) fn scope(&self) -> Scope {
        if self.generation != fork::generation() {
            return Scope::Store;
        }
        let mut ownership = self.ownership.lock();
        if let Ok(me) = self.member.id() {
            ownership.inherit(self.state(), me);
        }
        ownership.scope()
    }

    /// Lets the first opener of a remote handle inherit the array, if this process owns it. Returns
    /// the scope of such a handle.
    pub(crate) fn hand_over(&self) -> Scope {
        match self.member.id() {
            Ok(me) if self.generation == fork::generation() && !self.is_read_only() => {
                self.ownership.lock().hand_over(self.state(), me)
            }
            _ => self.scope(),
        }
    }

    /// Applies a handle's scope; see
    /// [`Ownership::receive`](crate::state::ownership::Ownership::receive).
    pub(crate) fn receive(&self, handle: Scope) -> Result<Option<u64>> {
        if self.is_read_only() {
            // No process can claim or delete an array here.
            return Ok(None);
        }
        let me = self.member.id()?;
        Ok(self.ownership.lock().receive(handle, self.state(), me))
    }

    /// Marks the array as used, so that a claim is kept.
    pub(crate) fn used(&self) {
        self.ownership.lock().used();
    }

    /// Undoes a [`receive`](Self::receive) that gave a claim.
    pub(crate) fn give_back(&self, token: u64) {
        if self.generation == fork::generation()
            && let Ok(me) = self.member.id()
        {
            self.ownership.lock().give_back(token, self.state(), me);
        }
    }

    /// Changes which process deletes the array.
    pub(crate) fn set_scope(&self, scope: Scope) -> Result<()> {
        self.check_ready()?;
        let me = self.member.id()?;
        if self.generation != fork::generation() {
            return match scope {
                Scope::Store => Ok(()),
                _ => Err(self.not_owner(
                    "the array was inherited over a fork, and a child owns nothing: open it from \
                     its handle first",
                )),
            };
        }
        self.ownership
            .lock()
            .set(scope, self.state(), me)
            .map_err(|_| {
                self.not_owner(
                    "another process owns the array and deletes it: only the owner changes that",
                )
            })
    }

    fn not_owner(&self, reason: &'static str) -> Error {
        Error::NotOwner {
            path: self.path.clone(),
            reason,
        }
    }
}
