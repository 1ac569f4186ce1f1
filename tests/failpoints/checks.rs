//! The checks after a crash: what other processes get, which files are left, and that a sweep
//! removes all of them.

use crate::{
    scenarios::{Crash, Mode, Outcome, Scenario},
    setup::{
        COLUMNS, FREE, GIVEN, OVERLAP, OWN, PARTS, POISONED_ROWS, RECOVERED, REST, SHARED, Setup,
        VIEW, ended, is_gone, part, rows, soon,
    },
    workers::{Counts, POISONED},
};
use ndarray::{Ix1, s};
use ndshm::{Error, Manager, Scope, SharedArray1, SharedArray2};
use std::{collections::BTreeSet, fs, ops::Range, os::unix::fs::MetadataExt, time::Duration};

const LONG: Duration = Duration::from_secs(60);

/// Tries an operation that conflicts with the victim's. None where only a sweep tells.
pub(crate) fn probe(setup: &Setup, scenario: &str, member: u64) -> Option<Outcome> {
    let by_writing = |view: &SharedArray2<u64>| told_by(view.write().map(drop));
    let outcome = match scenario {
        "write" | "read" | "atomic" | "panic" | "convert" | "wake" | "take over" | "bury"
        | "fork" | "be forked" => by_writing(&setup.view()),
        // The test holds a guard that reads, for which the victim waited.
        "wait" => told_by(setup.view().read().map(drop)),
        "merge" => by_writing(&rows(&setup.work, FREE)),
        "recover" | "recover after a wait" => by_writing(&rows(&setup.work, RECOVERED)),
        "freeze" => {
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
        "scope" => match setup.is_claimable(GIVEN) {
            true => Outcome::Claimable,
            false => Outcome::Owned,
        },
        "drop and keep" | "release and keep" | "make of a kept file" => {
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
        "create" | "release" | "drop" | "make of a kept file, named" => {
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
            assert!(
                matches!(&skipped[..], [Error::Untrusted { .. }]),
                "{skipped:?}"
            );
            if setup.renamed_away().join("given.ndshm").exists() {
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

pub(crate) fn verify(
    setup: Setup,
    scenario: &Scenario,
    outcome: Outcome,
    counts: &[Counts],
    title: &str,
) {
    verify_rows(&setup, scenario.name, outcome, counts, title);
    verify_files(&setup, scenario.name, outcome, title);
    if setup.is_closed {
        return finish_closing(setup, scenario.name, title);
    }
    let swept = setup.manager.sweep().unwrap();
    assert!(swept.skipped.is_empty(), "{title}: {swept:?}");
    assert_eq!(
        setup.files(),
        [".lock", "still.ndshm", "work.ndshm"],
        "{title}"
    );
    setup.list();
    setup.manager.close().unwrap();
    let root = setup.root.clone();
    drop(setup);
    assert_eq!(
        crate::common::files_below(&root),
        Vec::<std::path::PathBuf>::new(),
        "{title}"
    );
}

/// The rows of the array: the writes of the workers, no others, and poison exactly where the victim
/// was writing.
fn verify_rows(setup: &Setup, scenario: &str, outcome: Outcome, counts: &[Counts], title: &str) {
    let work = &setup.work;
    let row = |row: usize| rows(work, row..row + 1).read().unwrap().to_owned();
    let holds = |number: usize, value: u64| {
        assert!(
            row(number).iter().all(|&x| x == value),
            "{title}: row {number} is not {value}: {:?}",
            row(number)
        )
    };
    for (number, counts) in counts.iter().enumerate() {
        holds(OWN + number, counts[0]);
    }
    holds(SHARED, counts.iter().map(|counts| counts[1]).sum());
    holds(REST, REST as u64);
    holds(OVERLAP.end - 1, row(OVERLAP.end - 1)[[0, 0]]);

    let refused: u64 = counts.iter().map(|counts| counts[POISONED]).sum();
    let (poisoned, graves): (Range<usize>, bool) = match (scenario, outcome) {
        ("recover", Outcome::Poison | Outcome::Free) | ("recover after a wait", _) => {
            (POISONED_ROWS, true)
        }
        ("merge", Outcome::Free) => (POISONED_ROWS, true),
        ("merge", _) => (FREE.start..POISONED_ROWS.end, true),
        (_, Outcome::Poison) => (VIEW, false),
        _ => (0..0, false),
    };
    assert_eq!(
        refused > 0,
        poisoned == VIEW,
        "{title}: {refused} guards of the others were refused"
    );
    let bytes = |rows: &Range<usize>| rows.start * COLUMNS * 8..rows.end * COLUMNS * 8;
    let found = work.poisoned().unwrap();
    let allowed = bytes(&poisoned);
    assert!(
        found
            .iter()
            .all(|range| allowed.start <= range.start && range.end <= allowed.end),
        "{title}: {found:?} are poisoned"
    );
    assert_eq!(
        found.is_empty(),
        poisoned.is_empty(),
        "{title}: {found:?} are poisoned"
    );
    let is_poisoned = |view: SharedArray2<u64>| match view.read() {
        Ok(_) => false,
        Err(Error::Poisoned { .. }) => true,
        Err(error) => panic!("{title}: {error:?}"),
    };
    match scenario {
        "merge" => (0..PARTS).for_each(|number| {
            assert!(
                is_poisoned(part(work, number)),
                "{title}: the poison of part {number} is lost"
            )
        }),
        "recover" | "recover after a wait" => {
            assert!(
                is_poisoned(rows(work, POISONED_ROWS.start..RECOVERED.start)),
                "{title}: poison is lost without a recovery"
            );
            let behind = is_poisoned(rows(work, RECOVERED.end..POISONED_ROWS.end));
            assert_eq!(
                behind,
                scenario == "recover",
                "{title}: behind what was recovered"
            );
            assert_eq!(
                is_poisoned(rows(work, RECOVERED)),
                outcome == Outcome::Poison,
                "{title}"
            );
        }
        _ => assert_eq!(is_poisoned(rows(work, VIEW)), poisoned == VIEW, "{title}"),
    }
    if !poisoned.is_empty() {
        rows(work, poisoned).recover().unwrap().fill(0);
    }
    assert!(graves || work.poisoned().unwrap().is_empty());
    // No other process is left: only dead members hold slots now.
    drop(
        work.write()
            .unwrap_or_else(|error| panic!("{title}: {error:?}")),
    );
    assert_eq!(setup.slots(), [], "{title}: slots of the dead are left");
}

/// The arrays that the scenario was about.
fn verify_files(setup: &Setup, scenario: &str, outcome: Outcome, title: &str) {
    let manager = &setup.manager;
    let path = setup.array_path(GIVEN);
    let sweep = || assert!(manager.sweep().unwrap().skipped.is_empty(), "{title}");
    match (scenario, outcome) {
        ("open" | "await", _) => {
            manager.remove(GIVEN).unwrap();
            manager.options().name(GIVEN).from_elem(10, 3u64).unwrap();
            manager.remove(GIVEN).unwrap();
        }
        ("claim", Outcome::Claimable) => {
            assert!(
                !path.exists(),
                "{title}: the process that claimed it did not delete it"
            )
        }
        ("claim" | "scope", Outcome::Owned) => {
            assert!(path.exists(), "{title}");
            sweep();
            assert!(!path.exists(), "{title}: no process deleted it");
        }
        ("scope", _) => {
            sweep();
            setup.require_complete(&path, 3);
            manager.remove(GIVEN).unwrap();
        }
        ("create" | "release" | "drop" | "make of a kept file, named", outcome) => {
            if scenario == "release" && outcome == Outcome::Taken {
                sweep();
                manager.options().name(GIVEN).from_elem(10, 4u64).unwrap();
            }
            // The victim's where it was published, else the test's: neither replaces or deletes the
            // other.
            let elements = match (scenario, outcome) {
                ("create", Outcome::Taken) => 3,
                ("make of a kept file, named", Outcome::Taken) => 5,
                _ => 4,
            };
            setup.require_complete(&path, elements);
            manager.remove(GIVEN).unwrap();
            assert!(
                manager
                    .options()
                    .name(GIVEN)
                    .from_elem(10, 3u64)
                    .unwrap()
                    .release()
                    .is_ok()
            );
        }
        ("create unnamed", _) => {
            let left: BTreeSet<_> = setup.unnamed();
            assert_eq!(
                left.len(),
                usize::from(outcome == Outcome::Owned),
                "{title}"
            );
            // Once it is marked as released it cannot be opened.
            left.iter()
                .filter(|_| title.contains("Publish"))
                .for_each(|path| setup.require_complete(path, 3));
            sweep();
            assert!(setup.unnamed().is_empty(), "{title}: no process deleted it");
        }
        ("drop and keep" | "release and keep" | "make of a kept file", outcome) => {
            let left = setup.unnamed();
            // A marked array that still has its name is left too. A victim that goes on leaves
            // nothing.
            let may_stay = (outcome == Outcome::Owned || title.contains("Marked"))
                && !title.contains("GoesOn");
            assert_eq!(left.len(), usize::from(may_stay), "{title}: {left:?}");
            left.iter()
                .filter(|_| title.contains("Publish"))
                .for_each(|path| setup.require_complete(path, 5));
            sweep();
            assert!(setup.unnamed().is_empty(), "{title}: no process deleted it");
            assert!(setup.open_old().is_none(), "{title}");
        }
        ("open what is dropped" | "open what is released" | "open what is frozen", outcome) => {
            let owned = setup.owned.lock().unwrap().take().unwrap();
            let elements = if outcome == Outcome::Frozen { 2 } else { 9 };
            assert!(
                owned.read().unwrap().iter().all(|&x| x == elements),
                "{title}: another process wrote it: {owned:?}"
            );
            drop(owned);
            // Nothing is kept any more.
            Manager::builder()
                .path(manager.path())
                .recycle(0)
                .open()
                .unwrap();
        }
        ("freeze", outcome) => {
            let frozen: SharedArray1<u64> = manager.array("frozen").unwrap();
            match outcome {
                Outcome::Abandoned => {
                    assert!(
                        matches!(frozen.read(), Err(Error::Poisoned { .. }))
                            || !title.contains("FreezeExclusive"),
                        "{title}"
                    );
                    assert_eq!(frozen.recover().unwrap().sum(), 30);
                }
                _ => assert!(
                    frozen.is_frozen() && matches!(frozen.write(), Err(Error::Frozen { .. })),
                    "{title}"
                ),
            }
            assert_eq!(
                frozen
                    .read()
                    .unwrap_or_else(|error| panic!("{title}: {error:?}"))
                    .sum(),
                30
            );
            manager.remove("frozen").unwrap();
        }
        ("join after a boot", _) => {
            // The next process to join notes the boot if none did.
            ended(
                setup.start("join", &Crash("", 0, Outcome::Free), Mode::Dies, ""),
                false,
            );
            assert!(
                setup.next_member() > 1 << 20,
                "{title}: the boot was not noted"
            );
        }
        ("persist", Outcome::Kept) => {
            let kept = Manager::open(setup.root.join("other")).unwrap();
            assert_eq!(kept.list().unwrap().len(), 2);
            kept.close().unwrap();
        }
        _ => {}
    }
}

/// A store was being closed: the next process finishes the close.
fn finish_closing(setup: Setup, scenario: &str, title: &str) {
    let (root, path) = (setup.root.clone(), setup.manager.path().to_path_buf());
    match scenario {
        "close, then open or create" | "close, then create" => {
            let next = if scenario.ends_with(" open or create") {
                Manager::open_or_create(&path)
            } else {
                Manager::create(&path)
            };
            let next = next.unwrap_or_else(|error| panic!("{title}: {error:?}"));
            assert_eq!(next.list().unwrap(), [], "{title}");
            next.options().name("work").from_elem(3, 1u64).unwrap();
            next.close().unwrap();
        }
        "close, then close" => setup.manager.close().unwrap(),
        "close another's place" => {
            let another = Manager::open(setup.renamed_away()).unwrap();
            setup.require_complete(&another.path().join("given.ndshm"), 3);
            another.close().unwrap();
        }
        _ => {}
    }
    // A sweep deletes a store only when it has no members.
    drop(setup);
    let sweeper = Manager::builder().root(&root).create().unwrap();
    let swept = sweeper.sweep().unwrap();
    assert!(swept.skipped.is_empty(), "{title}: {swept:?}");
    sweeper.close().unwrap();
    assert_eq!(
        crate::common::files_below(&root),
        Vec::<std::path::PathBuf>::new(),
        "{title}"
    );
}
