//! The sweep of the files in a store: arrays that were released or whose owner is dead, and drafts
//! of dead members.
//!
//! [`plan_files`] decides by one look at the first bytes of each file, without mapping it.
//! [`sweep_files`] executes that plan: it opens each array and decides again on the mapped state
//! block. A draft under a temporary name needs no second look: its maker is dead, and member ids
//! are never given twice. A half-made file that has its name already is looked at again after its
//! maker was found dead: only the maker could have made it ready.

use super::{Segment, header, header_error, read_state, surroundings::free_lanes_of_gone_arrays};
use crate::{
    error::{Error, HeaderError, Result},
    format::{
        constants::{HEADER_KEY_AT, MAGIC},
        directory_entry::{RootEntry, StoreEntry},
        header::Header,
        words::Owner,
    },
    state::{block::lifecycle, snapshot::StateSnapshot},
    store::{
        self, StoreReader, Swept,
        directory::{Directory, STRAY},
        listing,
        member::Member,
        permissions,
        plan::{Kind, Plan, PlannedDeletion, Reason},
        unready,
    },
    sys::{mapping::Mapping, wait::Deadline},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
};
use uuid::Uuid;

/// The deletions of a sweep of a root: whole stores, then files in the stores that stay.
pub(crate) fn plan_root(root: &Path) -> Result<Plan> {
    let mut plan = store::sweep::plan(root)?;
    let whole: Vec<_> = plan
        .deletions
        .iter()
        .map(|whole| whole.path.clone())
        .collect();
    for directory in listing::stores(root)? {
        if !whole.contains(&directory)
            && let Ok(store) = StoreReader::open(&directory)
        {
            let files = plan_files_of(&store, &directory)?;
            plan.deletions.extend(files.deletions);
            plan.skipped.extend(files.skipped);
        }
    }
    Ok(plan)
}

/// The deletions of a sweep in one store: the whole store, or files in it.
pub(crate) fn plan_store(store: &StoreReader, directory: &Path) -> Result<Plan> {
    // Only a sweep of the root finds out whether a store is still being made.
    let is_half_built = directory
        .file_name()
        .is_some_and(|name| RootEntry::of(name) == RootEntry::HalfBuilt);
    let whole = match store::sweep::reason_to_delete(store, directory) {
        _ if is_half_built => None,
        Ok(reason) => reason,
        // It is not deleted as a whole; its files are.
        Err(Error::Untrusted { .. }) => None,
        Err(error) => return Err(error),
    };
    match whole {
        Some(reason) => Ok(Plan {
            deletions: vec![store::sweep::whole(directory, reason)?],
            skipped: Vec::new(),
        }),
        None => plan_files_of(store, directory),
    }
}

fn plan_files_of(store: &StoreReader, directory: &Path) -> Result<Plan> {
    match Directory::open(directory)? {
        Some(directory) => plan_files(&directory, store.page().uuid(), |member| {
            store.is_alive(member)
        }),
        None => Ok(Plan::default()),
    }
}

/// The files in the store in `directory`, which has this id, that a sweep deletes.
fn plan_files(
    directory: &Directory,
    store: Uuid,
    is_alive: impl Fn(u64) -> Result<bool>,
) -> Result<Plan> {
    // Most arrays belong to one of few owners, and a question to the kernel costs as much as a look
    // at a file.
    let mut known = BTreeMap::new();
    let mut is_alive = |member| match known.get(&member) {
        Some(&is_alive) => Ok(is_alive),
        None => is_alive(member).map(|is_alive| *known.entry(member).or_insert(is_alive)),
    };
    // Another store can have come to the path.
    let identity = directory.identity()?.filter(|found| found.uuid == store);
    let is_of_store = |name: &OsStr| match &identity {
        Some(store) => directory.is_of_store(name, store),
        None => Ok(false),
    };
    let mut plan = Plan::default();
    for name in directory.names()? {
        let path = directory.path().join(&name);
        let reason = match StoreEntry::of(&name) {
            StoreEntry::Array(_) => match judge_array(directory, &name, store, &mut is_alive) {
                Err(error @ (Error::Header { .. } | Error::Untrusted { .. })) => {
                    Err(match is_of_store(&name) {
                        Ok(true) => error,
                        Ok(false) => Error::Untrusted {
                            reason: STRAY.into(),
                            path: path.clone(),
                        },
                        Err(error) => error,
                    })
                }
                judged => judged,
            },
            StoreEntry::Draft { maker: Some(maker) } => match is_of_store(&name) {
                Ok(true) => Ok(Reason::of_draft(maker, &mut is_alive)?),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            },
            StoreEntry::Draft { .. } | StoreEntry::LockFile | StoreEntry::Foreign => Ok(None),
        };
        match reason {
            Ok(None) | Err(Error::NotFound { .. }) => {}
            Ok(Some(reason)) => plan.deletions.push(PlannedDeletion {
                bytes: directory.allocated(&name),
                arrays: usize::from(reason.kind() == Kind::Array),
                drafts: usize::from(reason.kind() == Kind::Draft),
                path,
                reason,
            }),
            Err(error) => plan.skipped.push((path, error)),
        }
    }
    Ok(plan)
}

const READ: &str = "read the header";

/// Why a sweep deletes an array, if so. An error if the file is not an array that can be opened.
fn judge_array(
    directory: &Directory,
    name: &OsStr,
    store: Uuid,
    is_alive: impl FnOnce(u64) -> Result<bool>,
) -> Result<Option<Reason>> {
    let path = &directory.path().join(name);
    let file = directory
        .open_to_write(name)
        .map_err(|source| header::open_error(source, path, None))?;
    let mut head = [0; HEADER_KEY_AT];
    let is_array = file.read_exact_at(&mut head, 0).is_ok() && head.starts_with(&MAGIC);
    let state = StateSnapshot::in_head(&head);
    if (!is_array || [lifecycle::UNREADY, lifecycle::RECYCLING].contains(&state.lifecycle))
        && let Some(maker) = unready::maker_of(name, &file).map_err(Error::io(path, READ))?
    {
        return Reason::of_draft(maker, is_alive);
    }
    let reason = if is_array {
        Reason::of_array(&state, is_alive)?
    } else {
        None
    };
    let is_whole = state.lifecycle == lifecycle::READY && Owner::of(state.owner).is_some();
    if is_array && reason.is_none() && is_whole {
        return Ok(None);
    }
    match check_array(&file, path, store) {
        // A released file that lost its name is another array's by now, or about to be.
        _ if !directory.has(name, &file)? => Ok(None),
        Ok(()) => Ok(reason),
        Err(error) => Err(error),
    }
}

/// An error if an array file cannot be opened, and so not swept.
fn check_array(file: &File, path: &Path, store: Uuid) -> Result<()> {
    let len = permissions::check_file(file, path)?.len();
    let parsed = Header::parse(file, len).map_err(|source| header_error(path, source))?;
    if parsed.header.created.store != store {
        return Err(header_error(path, HeaderError::ForeignStore));
    }
    // Read anew: a copy of a word that changes meanwhile could be neither of its values.
    let state = read_state(file, path)?;
    check_words(path, state.lifecycle, state.owner)
}

/// An error if a word is damaged that decides whether a sweep deletes the array.
fn check_words(path: &Path, lifecycle: u32, owner: u64) -> Result<()> {
    match lifecycle {
        // Deleted whatever the owner word says, or about to be.
        lifecycle::RELEASED | lifecycle::DELETED | lifecycle::RECYCLING => Ok(()),
        lifecycle::READY if Owner::of(owner).is_some() => Ok(()),
        lifecycle::READY => Err(header_error(path, HeaderError::Owner { found: owner })),
        found => Err(header_error(path, HeaderError::Lifecycle { found })),
    }
}

/// Deletes the leftovers among the files of a store.
pub(crate) fn sweep_files(member: &Arc<Member>, deadline: &Deadline) -> Result<Swept> {
    member.check_open()?;
    let Plan { deletions, skipped } = plan_files(member.place(), member.page().uuid(), |owner| {
        member.is_alive(owner)
    })?;
    if !deletions.is_empty() {
        member.check_writable()?;
    }
    let mut swept = Swept {
        skipped: skipped.into_iter().map(|(_, error)| error).collect(),
        ..Swept::default()
    };
    let (drafts, arrays): (Vec<_>, Vec<_>) = deletions
        .iter()
        .partition(|deletion| deletion.reason.kind() == Kind::Draft);
    for array in arrays {
        swept.note(sweep_array(member, array, deadline));
    }
    for draft in drafts {
        swept.note(sweep_draft(member.place(), draft));
    }
    if let Err(error) = free_lanes_of_gone_arrays(member) {
        swept.skipped.push(error);
    }
    failpoint!(SweepStoreDone);
    Ok(swept)
}

fn sweep_array(
    member: &Arc<Member>,
    array: &PlannedDeletion,
    deadline: &Deadline,
) -> Result<Swept> {
    let opened = Segment::open_for_sweep(member, &array.path);
    match opened.and_then(|segment| segment.sweep(deadline)) {
        Ok(true) => Ok(Swept {
            arrays: 1,
            bytes: array.bytes,
            ..Swept::default()
        }),
        Ok(false) | Err(Error::NotFound { .. }) => Ok(Swept::default()),
        Err(error) => Err(error),
    }
}

fn sweep_draft(directory: &Directory, draft: &PlannedDeletion) -> Result<Swept> {
    failpoint!(SweepHalfMadeFound);
    let name = draft.path.file_name().unwrap_or_default();
    if matches!(StoreEntry::of(name), StoreEntry::Array(_)) && !directory.is_unready(name)? {
        // Its maker completed it after the first look, and died then.
        return Ok(Swept::default());
    }
    end_recycling(directory, name);
    let is_removed = directory.unlink(name);
    failpoint!(SweepHalfMadeRemoved);
    Ok(match is_removed? {
        true => Swept {
            half_made: 1,
            bytes: draft.bytes,
            ..Swept::default()
        },
        false => Swept::default(),
    })
}

/// Marks a file that a dead member was recycling as released: processes that keep a mapping of its
/// old array unmap it then, and its pages are freed.
fn end_recycling(directory: &Directory, name: &OsStr) {
    let mut head = [0; HEADER_KEY_AT];
    let Ok(file) = directory.open_to_write(name) else {
        return;
    };
    if file.read_exact_at(&mut head, 0).is_ok()
        && head.starts_with(&MAGIC)
        && StateSnapshot::in_head(&head).lifecycle == lifecycle::RECYCLING
        && let Ok(mapping) = Mapping::new(&file, HEADER_KEY_AT, &directory.path().join(name))
    {
        mapping.state().give_up_recycling();
    }
}

impl Segment {
    /// Deletes the array if its owner is dead, or if it was released and still has its name.
    /// Returns false if there is nothing to do.
    fn sweep(&self, deadline: &Deadline) -> Result<bool> {
        if self.finish_release(deadline)? {
            self.settle_poison(self.member.id()?);
            return Ok(true);
        }
        let word = self.state().owner.load(SeqCst);
        check_words(&self.path, self.state().lifecycle.load(SeqCst), word)?;
        let is_dead = match Owner::of(word) {
            Some(Owner::Member(owner)) => !self.member.is_alive(owner)?,
            Some(Owner::None | Owner::Claimable) | None => false,
        };
        if !is_dead {
            return Ok(false);
        }
        failpoint!(SweepDeadOwnerFound);
        // Asked for before the ownership is locked: in a child that has not joined yet, this takes
        // another lock.
        let me = self.member.id()?;
        self.ownership.lock().release(self.state(), me);
        failpoint!(ReleaseMarked);
        self.settle_poison(me);
        self.unlink(deadline).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Manager,
        format::{
            constants::{LIFECYCLE_AT, OWNER_AT},
            directory_entry,
            words::seal,
        },
    };

    /// Changes bytes of an array's file.
    fn change(path: &Path, at: usize, bytes: &[u8]) {
        let file = File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, at as u64).unwrap();
    }

    #[test]
    fn a_sweep_deletes_the_files_of_its_plan_and_skips_the_same_files() {
        let scratch = tempfile::tempdir().unwrap();
        let manager = Manager::builder().root(scratch.path()).create().unwrap();
        let array = |name: &str| {
            let array = manager.options().name(name).zeros::<u8, _>(5).unwrap();
            array.path().to_path_buf()
        };
        let _local = manager.zeros::<u8, _>(5).unwrap();
        array("stays");
        let dead = seal(77).to_ne_bytes();
        change(&array("dead"), OWNER_AT, &dead);
        let released = lifecycle::RELEASED.to_ne_bytes();
        change(&array("released"), LIFECYCLE_AT, &released);
        change(&array("wrong"), LIFECYCLE_AT, &7u32.to_ne_bytes());
        let other = Manager::builder().root(scratch.path()).create().unwrap();
        let foreign = other.options().name("foreign").zeros::<u8, _>(5).unwrap();
        let copy = manager.path().join("copy.ndshm");
        std::fs::copy(foreign.path(), &copy).unwrap();
        change(&copy, OWNER_AT, &dead);
        let draft = directory_entry::draft_prefix(77) + "x";
        for name in [
            &draft,
            ".ndshm-new-0000000000000000-x",
            ".ndshm-new-thesis",
            "broken.ndshm",
            "notes.txt",
        ] {
            std::fs::write(manager.path().join(name), "x").unwrap();
        }
        let list = || {
            let mut names = listing::names(manager.path()).unwrap();
            names.sort();
            names
        };
        let before = list();
        let store = StoreReader::open(manager.path()).unwrap();
        let plan = plan_store(&store, manager.path()).unwrap();
        let swept = sweep_files(manager.member(), &manager.member().deadline()).unwrap();
        let mut planned: Vec<_> = plan
            .deletions
            .iter()
            .map(|deletion| deletion.path.file_name().unwrap().to_owned())
            .collect();
        planned.sort();
        let after = list();
        let (stayed, gone): (Vec<_>, Vec<_>) =
            before.into_iter().partition(|name| after.contains(name));
        assert_eq!(planned, gone);
        assert_eq!(gone, [&draft, "dead.ndshm", "released.ndshm"]);
        assert_eq!(stayed, after);
        let texts = |errors: &mut dyn Iterator<Item = &Error>| {
            let mut texts: Vec<_> = errors.map(ToString::to_string).collect();
            texts.sort();
            texts
        };
        assert_eq!(
            texts(&mut plan.skipped.iter().map(|(_, error)| error)),
            texts(&mut swept.skipped.iter())
        );
        assert_eq!(swept.skipped.len(), 3, "{:?}", swept.skipped);
        assert_eq!((swept.stores, swept.arrays, swept.half_made), (0, 2, 1));
        assert_eq!(
            swept.bytes,
            plan.deletions
                .iter()
                .map(|deletion| deletion.bytes)
                .sum::<u64>()
        );
        std::fs::remove_file(manager.path().join("notes.txt")).unwrap();
    }
}
