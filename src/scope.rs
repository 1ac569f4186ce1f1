//! Scopes: which process deletes an array's memory, and the transfer table as pure functions.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which process deletes an array's memory.
///
/// # Deletion
///
/// | scope | deletion |
/// | --- | --- |
/// | [`Local`](Scope::Local) | when the last array or view in the process that owns it is dropped |
/// | [`Remote`](Scope::Remote) | not by this process: the first opener of a handle owns the array |
/// | [`Store`](Scope::Store) | with the store, or by `release` |
///
/// A handle carries its source's scope. The opener's scope is decided once, when it opens the
/// handle:
///
/// | source | opener |
/// | --- | --- |
/// | `Local` | `Store`; `Local` in the process that owns the array |
/// | `Remote` | `Local` for the one opener that claims it, `Store` for every other |
/// | `Store` | `Store` |
///
/// The owner of a `Local` array can let another process inherit it: see
/// [`SharedArray::hand_over`](crate::SharedArray::hand_over).
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
    /// Whether the opener of a handle with this scope tries to claim the array.
    pub(crate) fn wants_claim(self) -> bool {
        self == Scope::Remote
    }

    /// The transfer table: the opener's scope, if the opener owns the array now or not.
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
