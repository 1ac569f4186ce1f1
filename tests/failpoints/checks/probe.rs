//! Operations that conflict with a victim, and sweeps after it.

use super::*;
use crate::setup::log_rows;
use ndarray::Ix2;

const LONG: Duration = Duration::from_secs(60);

/// Tries an operation that conflicts with the victim's. None where only a sweep tells.
pub(crate) fn probe(setup: &Setup, scenario: &str, member: u64) -> Option<Outcome> {
    let by_writing = |view: &SharedArray2<u64>| told_by(view.write().map(drop));
    let outcome = match scenario {
        "write"
        | "read"
        | "take many guards"
        | "atomic"
        | "panic"
        | "convert"
        | "wake"
        | "take over"
        | "rest"
        | "rows"
        | "revoke"
        | "clear the dead"
        | "wait for a name"
        | "watch"
        | "write what is watched"
        | "wait for a change"
        | "fork"
        | "be forked" => by_writing(&setup.view()),
        // The test holds a guard that reads, for which the victim waited.
        "wait" => told_by(setup.view().read().map(drop)),
        "merge" => by_writing(&rows(&setup.work, FREE)),
        "recover" | "recover after a wait" => by_writing(&rows(&setup.work, RECOVERED)),
        "freeze" | "freeze for a waiter" => {
            soon("the victim makes its array", || {
                setup.array_path("frozen").exists()
            });
            let frozen = setup.manager.array::<u64, Ix1>("frozen").unwrap();
            match frozen.handle().open_frozen_timeout::<u64, Ix1>(LONG) {
                Ok(frozen) => {
                    assert_eq!(frozen.sum(), 30);
                    Outcome::Frozen
                }
                Err(Error::Abandoned { .. }) => Outcome::Abandoned,
                Err(error) => panic!("{error:?}"),
            }
        }
        "append" | "append for a waiter" | "wait for rows" | "append after a boot" => {
            soon("the victim makes its array", || {
                setup.array_path("log").exists()
            });
            let log = setup.manager.growing::<u64, Ix2>("log").unwrap();
            match log.append_timeout(&log_rows(1, 3), LONG) {
                Ok(_) => Outcome::Free,
                Err(Error::Frozen { .. }) => Outcome::Frozen,
                Err(error) => panic!("{error:?}"),
            }
        }
        "await" => {
            setup.given().freeze().unwrap();
            Outcome::Frozen
        }
        "open" => told_by(setup.given().write().map(|mut guard| guard.fill(2))),
        "claim" => {
            let given = setup.given();
            assert_eq!(given.read().unwrap().sum(), 20);
            if given.scope() == Scope::Local {
                Outcome::Claimable
            } else {
                Outcome::Owned
            }
        }
        "hand over" => match setup.manager.array::<u64, Ix1>(GIVEN) {
            Ok(array) => {
                let handle = array.handle().with_scope(Scope::Remote);
                drop(array);
                let array = handle.open::<u64, Ix1>().unwrap();
                assert_eq!(array.read().unwrap().sum(), 30);
                match array.scope() {
                    Scope::Local => Outcome::Claimable,
                    _ => Outcome::Owned,
                }
            }
            Err(error) => panic!("{error:?}"),
        },
        "hand over to an heir" => {
            fs::remove_file(setup.marker("opener")).unwrap();
            soon("the heir deletes the array", || setup.open_old().is_none());
            Outcome::Gone
        }
        // The test owns the array, and deletes it unless the victim lives and has it open.
        "be an heir" => {
            let array = setup.owned.lock().unwrap().take().unwrap();
            let path = array.path().to_path_buf();
            drop(array);
            let may_live = setup.marker("stands").exists();
            assert!(!path.exists() || may_live && setup.owned_by(member) == [path]);
            Outcome::Left
        }
        "scope" => match setup.is_claimable(GIVEN) {
            true => Outcome::Claimable,
            false => Outcome::Owned,
        },
        "drop and keep"
        | "drop and keep what another member made"
        | "release and keep"
        | "make of a kept file" => {
            fs::remove_file(setup.marker("opener")).unwrap();
            setup.list();
            match setup.open_old() {
                Some(old) => {
                    assert!(
                        old.read().unwrap().iter().all(|&x| x == 3),
                        "another array: {old:?}"
                    );
                    Outcome::Owned
                }
                None if setup.owned_by(member).is_empty() || scenario != "make of a kept file" => {
                    Outcome::Gone
                }
                None => Outcome::Owned,
            }
        }
        "open what is dropped" | "open what is released" => use_again(setup, scenario),
        "open what is frozen" => {
            assert_eq!(
                setup
                    .owned
                    .lock()
                    .unwrap()
                    .as_ref()
                    .unwrap()
                    .freeze()
                    .unwrap()
                    .sum(),
                20
            );
            Outcome::Frozen
        }
        "create" | "rename" | "replace" | "release" | "drop" | "make of a kept file, named" => {
            if scenario.ends_with("named") {
                fs::remove_file(setup.marker("opener")).unwrap();
                assert!(setup.open_old().is_none());
            }
            setup.list();
            match setup.manager.options().name(GIVEN).from_elem(10, 4u64) {
                Err(Error::AlreadyExists { .. }) => Outcome::Taken,
                made => told_by(made.map(drop)),
            }
        }
        "create unnamed" => {
            setup.list();
            if setup.owned_by(member).is_empty() {
                Outcome::Free
            } else {
                Outcome::Owned
            }
        }
        "join" | "join after a boot" => told_by(
            setup
                .manager
                .options()
                .name("probe")
                .scope(Scope::Local)
                .from_elem(1, 1u64)
                .map(drop),
        ),
        "make a store" | "persist" | "drop a store" => {
            Manager::builder()
                .root(&setup.root)
                .name("probe")
                .create()
                .unwrap()
                .close()
                .unwrap();
            return None;
        }
        "sweep" | "sweep after a dead sweeper" => {
            let swept = setup.manager.sweep().unwrap();
            assert!(swept.skipped.is_empty(), "{swept:?}");
            return None;
        }
        "close another's place" => {
            // Makes a store, which sweeps the root too.
            let sweeper = Manager::builder().root(&setup.root).create().unwrap();
            let skipped = sweeper.sweep().unwrap().skipped;
            assert!(skipped.is_empty(), "{skipped:?}");
            // One of the two has put it back.
            if setup.manager.path().join("given.ndshm").exists() {
                Outcome::Kept
            } else {
                Outcome::Swept
            }
        }
        _ => match setup.manager.zeros::<u64, _>(3) {
            Err(error) if is_gone(&error) => Outcome::Closed,
            made => panic!("{made:?}"),
        },
    };
    Some(outcome)
}

fn told_by(result: Result<(), Error>) -> Outcome {
    match result {
        Ok(()) => Outcome::Free,
        Err(Error::Poisoned { .. }) => Outcome::Poison,
        Err(error) => panic!("{error:?}"),
    }
}

/// The test deletes its array and makes another one: whether that has the same file.
fn use_again(setup: &Setup, scenario: &str) -> Outcome {
    let mut owned = setup.owned.lock().unwrap();
    let array = owned.take().unwrap();
    let inode = |array: &SharedArray1<u64>| fs::metadata(array.path()).unwrap().ino();
    let before = inode(&array);
    let view = (scenario == "open what is released").then(|| array.slice(s![2..]).unwrap());
    if view.is_some() {
        array.release().unwrap();
    }
    drop(array);
    drop(view);
    let next = owned.insert(setup.manager.from_elem(10, 9u64).unwrap());
    if inode(next) == before {
        Outcome::Reused
    } else {
        Outcome::Left
    }
}

/// After a sweep: whether the store that the victim made or kept is still there.
pub(crate) fn told_by_sweep(setup: &Setup) -> Outcome {
    let swept = setup.manager.sweep().unwrap();
    assert!(swept.skipped.is_empty(), "{swept:?}");
    let others = setup.stores();
    match others.is_empty() {
        true => Outcome::Swept,
        false => {
            assert_eq!(others, ["other"]);
            Outcome::Kept
        }
    }
}

/// Puts another store where the victim is about to rename one away.
pub(crate) fn put_another_store_there(setup: &Setup) {
    std::fs::rename(setup.manager.path(), setup.root.join("moved")).unwrap();
    let other = Manager::create(setup.manager.path()).unwrap();
    other.options().name(GIVEN).from_elem(10, 3u64).unwrap();
}
