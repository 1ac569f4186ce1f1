//! The plan of a sweep, as an observer shows it.

use super::Observer;
use crate::{
    error::Result,
    segment::sweep,
    store::plan::{Kind, Plan, Reason},
};
use std::path::{Path, PathBuf};

/// A file or a store that a sweep would delete. Given by [`Observer::leftovers`] and
/// [`Observer::leftovers_in`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// The directory of a store, or a file in one.
    pub path: PathBuf,
    /// Whether it is a whole store.
    pub is_store: bool,
    /// The arrays in a store; 1 for an array, 0 for a file without one.
    pub arrays: usize,
    /// The files without an array in a store: half-made arrays, and files that their process kept
    /// for reuse. 0 for an array, 1 for such a file.
    pub half_made: usize,
    /// Bytes that the arrays and the files without one take.
    pub bytes: u64,
}

/// The leftovers in a root. Half-built stores are left out: whether a process is building one, only
/// a sweep finds out.
pub(super) fn of_root(root: &Path) -> Result<Vec<Leftovers>> {
    let mut plan = sweep::plan_root(root)?;
    plan.deletions
        .retain(|deletion| deletion.reason != Reason::HalfBuilt);
    Ok(shown(plan))
}

/// The leftovers in a store.
pub(super) fn of_store(observer: &Observer) -> Result<Vec<Leftovers>> {
    sweep::plan_store(&observer.store, &observer.directory).map(shown)
}

fn shown(plan: Plan) -> Vec<Leftovers> {
    plan.deletions
        .into_iter()
        .map(|deletion| Leftovers {
            is_store: deletion.reason.kind() == Kind::Store,
            path: deletion.path,
            arrays: deletion.arrays,
            half_made: deletion.drafts,
            bytes: deletion.bytes,
        })
        .collect()
}
