//! Who deletes an array's memory: the scopes and their transfer table, as pure functions.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who deletes an array's memory.
///
/// # Deletion
///
/// | scope | deleted |
/// | --- | --- |
/// | [`Local`](Scope::Local) | when the last array or view in the process that owns it is dropped |
/// | [`Remote`](Scope::Remote) | not by this process: the first process that opens a handle owns it |
/// | [`Store`](Scope::Store) | with the store, or by `release` |
///
/// A handle carries its source's scope. What the opener gets is decided once, when the handle is
/// opened:
///
/// | source | opener |
/// | --- | --- |
/// | `Local` | `Store`; in the process that owns the array `Local` again |
/// | `Remote` | `Local` for the one opener that claims it, `Store` for every other |
/// | `Store` | `Store` |
///
/// # Examples
///
/// ```
/// use ndarray::Ix1;
/// use ndshm::Scope;
///
/// let manager = ndshm::Manager::new()?;
/// let xs = manager.zeros::<f64, _>(5)?;
/// assert_eq!(xs.scope(), Scope::Local);
/// let handle = xs.handle();
/// drop(xs);
/// assert!(handle.open::<f64, Ix1>().is_err(), "deleted with its last array here");
/// # Ok::<(), ndshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This process deletes the array when its last array or view here is dropped.
    Local,
    /// The process that opens a handle first deletes the array; this one does not.
    Remote,
    /// The array stays until it is released or its store is deleted.
    Store,
}

impl Scope {
    /// What the opener of a handle with this scope tries to become.
    pub(crate) fn wants_claim(self) -> bool {
        self == Scope::Remote
    }

    /// The transfer table: the opener's scope, from the handle's and from whether the opener owns
    /// the array now.
    pub(crate) fn received(self, opener_owns: bool) -> Scope {
        if opener_owns {
            Scope::Local
        } else {
            Scope::Store
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scope::Local => "local",
            Scope::Remote => "remote",
            Scope::Store => "store",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Scope> {
        [Scope::Local, Scope::Remote, Scope::Store]
            .into_iter()
            .find(|scope| scope.name() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
