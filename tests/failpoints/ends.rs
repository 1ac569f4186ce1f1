//! What must hold after a death: what others are told, what is left, and that all of it can be
//! cleared away.

use crate::{
    crew::{Counts, POISONED},
    scenes::{Death, Mode, Scene, Told},
    stage::{
        COLUMNS, FREE, GIFT, GRAVES, OVERLAP, OWN, PARTS, RECOVERED, REST, SHARED, Stage, VIEW,
        ended, is_gone, part, rows, soon,
    },
};
use ndarray::{Ix1, s};
use ndshm::{Error, Manager, Scope, SharedArray1, SharedArray2};
use std::{collections::BTreeSet, fs, ops::Range, os::unix::fs::MetadataExt, time::Duration};

const LONG: Duration = Duration::from_secs(60);

/// Does what conflicts with what the victim held. None where only a sweep tells.
pub(crate) fn probe(stage: &Stage, scene: &str, member: u64) -> Option<Told> {
    let by_writing = |view: &SharedArray2<u64>| told_by(view.write().map(drop));
    let told = match scene {
        "write" | "read" | "atomic" | "panic" | "convert" | "wake" | "take over" | "bury"
        | "fork" | "be forked" => by_writing(&stage.view()),
        // The test holds a guard that reads, for which the victim waited.
        "wait" => told_by(stage.view().read().map(drop)),
        "merge" => by_writing(&rows(&stage.work, FREE)),
        "recover" | "recover after a wait" => by_writing(&rows(&stage.work, RECOVERED)),
        "freeze" => {
            soon("the victim makes its array", || {
                stage.array_path("frost").exists()
            });
            let frost = stage.manager.array::<u64, Ix1>("frost").unwrap();
            match frost.handle().open_frozen_timeout::<u64, Ix1>(LONG) {
                Ok(frozen) => {
                    assert_eq!(frozen.sum(), 30);
                    Told::Frozen
                }
                Err(Error::Abandoned { .. }) => Told::Abandoned,
                Err(error) => panic!("{error:?}"),
            }
        }
        "await" => {
            stage.gift().freeze().unwrap();
            Told::Frozen
        }
        "open" => told_by(stage.gift().write().map(|mut guard| guard.fill(2))),
        "claim" => {
            let gift = stage.gift();
            assert_eq!(gift.read().unwrap().sum(), 20);
            if gift.scope() == Scope::Local {
                Told::Claimable
            } else {
                Told::Owned
            }
        }
        "scope" => match stage.is_claimable(GIFT) {
            true => Told::Claimable,
            false => Told::Owned,
        },
        "drop and keep" | "release and keep" | "make of a kept file" => {
            fs::remove_file(stage.sign("opener")).unwrap();
            stage.list();
            match stage.open_old() {
                Some(old) => {
                    assert!(
                        old.read().unwrap().iter().all(|&x| x == 3),
                        "another array: {old:?}"
                    );
                    Told::Owned
                }
                None if stage.owned_by(member).is_empty() || scene != "make of a kept file" => {
                    Told::Gone
                }
                None => Told::Owned,
            }
        }
        "open what is dropped" | "open what is released" => use_again(stage, scene),
        "open what is frozen" => {
            assert_eq!(
                stage
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
            Told::Frozen
        }
        "create" | "release" | "drop" | "make of a kept file, named" => {
            if scene.ends_with("named") {
                fs::remove_file(stage.sign("opener")).unwrap();
                assert!(stage.open_old().is_none());
            }
            stage.list();
            match stage.manager.options().name(GIFT).from_elem(10, 4u64) {
                Err(Error::AlreadyExists { .. }) => Told::Taken,
                made => told_by(made.map(drop)),
            }
        }
        "create unnamed" => {
            stage.list();
            if stage.owned_by(member).is_empty() {
                Told::Free
            } else {
                Told::Owned
            }
        }
        "join" | "join after a boot" => told_by(
            stage
                .manager
                .options()
                .name("probe")
                .scope(Scope::Local)
                .from_elem(1, 1u64)
                .map(drop),
        ),
        "make a store" | "keep" | "drop a store" => {
            Manager::builder()
                .root(&stage.root)
                .name("probe")
                .create()
                .unwrap()
                .close()
                .unwrap();
            return None;
        }
        "sweep" | "sweep after a dead sweeper" => {
            let swept = stage.manager.sweep().unwrap();
            assert!(swept.skipped.is_empty(), "{swept:?}");
            return None;
        }
        "close another's place" => {
            // Makes a store, which sweeps the root too.
            let sweeper = Manager::builder().root(&stage.root).create().unwrap();
            let skipped = sweeper.sweep().unwrap().skipped;
            assert!(
                matches!(&skipped[..], [Error::Untrusted { .. }]),
                "{skipped:?}"
            );
            if stage.renamed_away().join("gift.ndshm").exists() {
                Told::Kept
            } else {
                Told::Swept
            }
        }
        _ => match stage.manager.zeros::<u64, _>(3) {
            Err(error) if is_gone(&error) => Told::Closed,
            made => panic!("{made:?}"),
        },
    };
    Some(told)
}

fn told_by(result: Result<(), Error>) -> Told {
    match result {
        Ok(()) => Told::Free,
        Err(Error::Poisoned { .. }) => Told::Poison,
        Err(error) => panic!("{error:?}"),
    }
}

/// The test deletes its array and makes another one: whether that has the same file.
fn use_again(stage: &Stage, scene: &str) -> Told {
    let mut owned = stage.owned.lock().unwrap();
    let array = owned.take().unwrap();
    let inode = |array: &SharedArray1<u64>| fs::metadata(array.path()).unwrap().ino();
    let before = inode(&array);
    let view = (scene == "open what is released").then(|| array.slice(s![2..]).unwrap());
    if view.is_some() {
        array.release().unwrap();
    }
    drop(array);
    drop(view);
    let next = owned.insert(stage.manager.from_elem(10, 9u64).unwrap());
    if inode(next) == before {
        Told::Reused
    } else {
        Told::Left
    }
}

/// After a sweep: whether the store that the victim made or kept is still there.
pub(crate) fn told_by_sweep(stage: &Stage) -> Told {
    let swept = stage.manager.sweep().unwrap();
    assert!(swept.skipped.is_empty(), "{swept:?}");
    let others = stage.stores();
    match others.is_empty() {
        true => Told::Swept,
        false => {
            assert_eq!(others, ["other"]);
            Told::Kept
        }
    }
}

/// Puts another store where the victim is about to rename one away.
pub(crate) fn put_another_store_there(stage: &Stage) {
    std::fs::rename(stage.manager.path(), stage.root.join("moved")).unwrap();
    let other = Manager::create(stage.manager.path()).unwrap();
    other.options().name(GIFT).from_elem(10, 3u64).unwrap();
}

pub(crate) fn verify(stage: Stage, scene: &Scene, told: Told, counts: &[Counts], title: &str) {
    verify_rows(&stage, scene.name, told, counts, title);
    verify_files(&stage, scene.name, told, title);
    if stage.is_closed {
        return finish_closing(stage, scene.name, title);
    }
    let swept = stage.manager.sweep().unwrap();
    assert!(swept.skipped.is_empty(), "{title}: {swept:?}");
    assert_eq!(
        stage.files(),
        [".lock", "still.ndshm", "work.ndshm"],
        "{title}"
    );
    stage.list();
    stage.manager.close().unwrap();
    let root = stage.root.clone();
    drop(stage);
    assert_eq!(
        crate::common::files_below(&root),
        Vec::<std::path::PathBuf>::new(),
        "{title}"
    );
}

/// The rows of the array: what the others wrote, nothing else, and poison exactly where somebody
/// was writing.
fn verify_rows(stage: &Stage, scene: &str, told: Told, counts: &[Counts], title: &str) {
    let work = &stage.work;
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
    let (poisoned, graves): (Range<usize>, bool) = match (scene, told) {
        ("recover", Told::Poison | Told::Free) | ("recover after a wait", _) => (GRAVES, true),
        ("merge", Told::Free) => (GRAVES, true),
        ("merge", _) => (FREE.start..GRAVES.end, true),
        (_, Told::Poison) => (VIEW, false),
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
    match scene {
        "merge" => (0..PARTS).for_each(|number| {
            assert!(
                is_poisoned(part(work, number)),
                "{title}: the poison of part {number} is lost"
            )
        }),
        "recover" | "recover after a wait" => {
            assert!(
                is_poisoned(rows(work, GRAVES.start..RECOVERED.start)),
                "{title}: poison that nobody recovered is lost"
            );
            let behind = is_poisoned(rows(work, RECOVERED.end..GRAVES.end));
            assert_eq!(
                behind,
                scene == "recover",
                "{title}: behind what was recovered"
            );
            assert_eq!(
                is_poisoned(rows(work, RECOVERED)),
                told == Told::Poison,
                "{title}"
            );
        }
        _ => assert_eq!(is_poisoned(rows(work, VIEW)), poisoned == VIEW, "{title}"),
    }
    if !poisoned.is_empty() {
        rows(work, poisoned).recover().unwrap().fill(0);
    }
    assert!(graves || work.poisoned().unwrap().is_empty());
    // Nobody else is there: whatever is still held is held by the dead.
    drop(
        work.write()
            .unwrap_or_else(|error| panic!("{title}: {error:?}")),
    );
    assert_eq!(stage.slots(), [], "{title}: slots of the dead are left");
}

/// The arrays that the scene was about.
fn verify_files(stage: &Stage, scene: &str, told: Told, title: &str) {
    let manager = &stage.manager;
    let path = stage.array_path(GIFT);
    let sweep = || assert!(manager.sweep().unwrap().skipped.is_empty(), "{title}");
    match (scene, told) {
        ("open" | "await", _) => {
            manager.remove(GIFT).unwrap();
            manager.options().name(GIFT).from_elem(10, 3u64).unwrap();
            manager.remove(GIFT).unwrap();
        }
        ("claim", Told::Claimable) => {
            assert!(!path.exists(), "{title}: who claimed it has deleted it")
        }
        ("claim" | "scope", Told::Owned) => {
            assert!(path.exists(), "{title}");
            sweep();
            assert!(!path.exists(), "{title}: nobody deletes it");
        }
        ("scope", _) => {
            sweep();
            stage.require_complete(&path, 3);
            manager.remove(GIFT).unwrap();
        }
        ("create" | "release" | "drop" | "make of a kept file, named", told) => {
            if scene == "release" && told == Told::Taken {
                sweep();
                manager.options().name(GIFT).from_elem(10, 4u64).unwrap();
            }
            // The victim's where it was published, else the test's: neither replaces or deletes the
            // other.
            let elements = match (scene, told) {
                ("create", Told::Taken) => 3,
                ("make of a kept file, named", Told::Taken) => 5,
                _ => 4,
            };
            stage.require_complete(&path, elements);
            manager.remove(GIFT).unwrap();
            assert!(
                manager
                    .options()
                    .name(GIFT)
                    .from_elem(10, 3u64)
                    .unwrap()
                    .release()
                    .is_ok()
            );
        }
        ("create unnamed", _) => {
            let left: BTreeSet<_> = stage.unnamed();
            assert_eq!(left.len(), usize::from(told == Told::Owned), "{title}");
            // Once it is marked as released it cannot be opened.
            left.iter()
                .filter(|_| title.contains("Publish"))
                .for_each(|path| stage.require_complete(path, 3));
            sweep();
            assert!(stage.unnamed().is_empty(), "{title}: nobody deletes it");
        }
        ("drop and keep" | "release and keep" | "make of a kept file", told) => {
            let left = stage.unnamed();
            // What was marked and has its name still is left too. Who goes on leaves nothing.
            let may_stay =
                (told == Told::Owned || title.contains("Marked")) && !title.contains("GoesOn");
            assert_eq!(left.len(), usize::from(may_stay), "{title}: {left:?}");
            left.iter()
                .filter(|_| title.contains("Publish"))
                .for_each(|path| stage.require_complete(path, 5));
            sweep();
            assert!(stage.unnamed().is_empty(), "{title}: nobody deletes it");
            assert!(stage.open_old().is_none(), "{title}");
        }
        ("open what is dropped" | "open what is released" | "open what is frozen", told) => {
            let owned = stage.owned.lock().unwrap().take().unwrap();
            let elements = if told == Told::Frozen { 2 } else { 9 };
            assert!(
                owned.read().unwrap().iter().all(|&x| x == elements),
                "{title}: somebody else wrote it: {owned:?}"
            );
            drop(owned);
            // Nothing is kept any more.
            Manager::builder()
                .path(manager.path())
                .recycle(0)
                .open()
                .unwrap();
        }
        ("freeze", told) => {
            let frost: SharedArray1<u64> = manager.array("frost").unwrap();
            match told {
                Told::Abandoned => {
                    assert!(
                        matches!(frost.read(), Err(Error::Poisoned { .. }))
                            || !title.contains("FreezeExclusive"),
                        "{title}"
                    );
                    assert_eq!(frost.recover().unwrap().sum(), 30);
                }
                _ => assert!(
                    frost.is_frozen() && matches!(frost.write(), Err(Error::Frozen { .. })),
                    "{title}"
                ),
            }
            assert_eq!(
                frost
                    .read()
                    .unwrap_or_else(|error| panic!("{title}: {error:?}"))
                    .sum(),
                30
            );
            manager.remove("frost").unwrap();
        }
        ("join after a boot", _) => {
            // Whoever joins next notes the boot if nobody did.
            ended(
                stage.start("join", &Death("", 0, Told::Free), Mode::Dies, ""),
                false,
            );
            assert!(
                stage.next_member() > 1 << 20,
                "{title}: the boot was not noted"
            );
        }
        ("keep", Told::Kept) => {
            let kept = Manager::open(stage.root.join("other")).unwrap();
            assert_eq!(kept.list().unwrap().len(), 2);
            kept.close().unwrap();
        }
        _ => {}
    }
}

/// A store was being closed: who comes next finishes that.
fn finish_closing(stage: Stage, scene: &str, title: &str) {
    let (root, path) = (stage.root.clone(), stage.manager.path().to_path_buf());
    match scene {
        "close, then open or create" | "close, then create" => {
            let next = if scene.ends_with(" open or create") {
                Manager::open_or_create(&path)
            } else {
                Manager::create(&path)
            };
            let next = next.unwrap_or_else(|error| panic!("{title}: {error:?}"));
            assert_eq!(next.list().unwrap(), [], "{title}");
            next.options().name("work").from_elem(3, 1u64).unwrap();
            next.close().unwrap();
        }
        "close, then close" => stage.manager.close().unwrap(),
        "close another's place" => {
            let another = Manager::open(stage.renamed_away()).unwrap();
            stage.require_complete(&another.path().join("gift.ndshm"), 3);
            another.close().unwrap();
        }
        _ => {}
    }
    // A sweep deletes a store only when it has no members.
    drop(stage);
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
