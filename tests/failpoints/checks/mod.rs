//! The checks after a crash: what other processes get, which files are left, and that a sweep
//! removes all of them.

mod probe;

pub(crate) use probe::{probe, put_another_store_there, told_by_sweep};

use crate::{
    scenarios::{Crash, Mode, Outcome, Scenario},
    setup::{
        COLUMNS, FREE, GIVEN, OVERLAP, OWN, PARTS, POISONED_ROWS, RECOVERED, REST, SHARED, Setup,
        VIEW, ended, is_gone, part, rows, soon,
    },
    workers::{Counts, POISONED},
};
use ndarray::{Ix1, Ix2, s};
use ndshm::{Error, Manager, Scope, SharedArray1, SharedArray2};
use std::{collections::BTreeSet, fs, ops::Range, os::unix::fs::MetadataExt, time::Duration};

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
        ("claim" | "hand over", Outcome::Claimable) => {
            assert!(
                !path.exists(),
                "{title}: the process that claimed it did not delete it"
            )
        }
        ("claim" | "scope" | "hand over", Outcome::Owned) => {
            assert!(path.exists(), "{title}");
            sweep();
            assert!(!path.exists(), "{title}: no process deleted it");
        }
        ("be an heir", _) => {
            sweep();
            assert_eq!(
                setup.unnamed_files(),
                [""; 0],
                "{title}: no process deleted it"
            );
        }
        ("scope", _) => {
            sweep();
            setup.require_complete(&path, 3);
            manager.remove(GIVEN).unwrap();
        }
        (
            "create" | "rename" | "replace" | "release" | "drop" | "make of a kept file, named",
            outcome,
        ) => {
            if scenario == "release" && outcome == Outcome::Taken {
                sweep();
                manager.options().name(GIVEN).from_elem(10, 4u64).unwrap();
            }
            // The victim's where it was published, else the test's: neither replaces or deletes the
            // other.
            let elements = match (scenario, outcome) {
                ("create" | "rename" | "replace", Outcome::Taken) => 3,
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
            assert_eq!(
                setup.unnamed_files(),
                [""; 0],
                "{title}: no process deleted it"
            );
        }
        (
            "drop and keep"
            | "drop and keep what another member made"
            | "release and keep"
            | "make of a kept file",
            outcome,
        ) => {
            let left = setup.unnamed();
            // A victim that goes on leaves nothing.
            let may_stay = outcome == Outcome::Owned && !title.contains("GoesOn");
            assert_eq!(left.len(), usize::from(may_stay), "{title}: {left:?}");
            left.iter()
                .filter(|_| title.contains("Publish"))
                .for_each(|path| setup.require_complete(path, 5));
            sweep();
            assert_eq!(
                setup.unnamed_files(),
                [""; 0],
                "{title}: no process deleted it"
            );
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
        ("freeze" | "freeze for a waiter", outcome) => {
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
        ("append" | "append for a waiter" | "wait for rows" | "append after a boot", outcome) => {
            let log = manager.growing::<u64, Ix2>("log").unwrap();
            let all = log.all().unwrap();
            // Whole rows: three of the victim's, its other ones or none, the probe's.
            let numbers: Vec<u64> = all.outer_iter().map(|row| row[0]).collect();
            assert!(
                all.outer_iter().all(|row| row.iter().all(|&x| x == row[0])),
                "{title}: half a row"
            );
            let of = |number: u64| numbers.iter().filter(|&&found| found == number).count();
            let probes = usize::from(outcome == Outcome::Free);
            assert_eq!((of(1), of(3)), (3, probes), "{title}: {numbers:?}");
            assert!([0, 1, 300].contains(&of(2)), "{title}: {} rows", of(2));
            assert_eq!(numbers.len(), 3 + of(2) + probes, "{title}");
            assert_eq!(log.is_frozen(), outcome == Outcome::Frozen, "{title}");
            log.release().unwrap();
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
            let another = Manager::open(&path).unwrap();
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
