//! Sweeps: the leftovers of dead processes that they delete, the files that they leave, and their
//! report.

use super::{
    NOTHING, chmod,
    common::{self, Root, words},
};
use ndarray::Ix1;
use ndshm::{Error, Leftovers, Manager, Observer, Scope};
use std::{
    fs,
    io::Write,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::Command,
};

#[test]
fn a_killed_process_leaves_a_store_that_the_next_manager_in_the_root_sweeps() {
    let root = Root::new();
    let killed = || {
        let child = common::start(child_kills_itself, &[root.path()]);
        assert_eq!(child.wait_with_output().unwrap().status.signal(), Some(9));
    };
    killed();
    assert!(!root.contents().is_empty());
    let manager = root.manager();
    assert_eq!(
        manager.sweep().unwrap().stores,
        0,
        "create has swept already"
    );
    assert_eq!(
        root.contents().len(),
        2,
        "the own store and its lock file: {:?}",
        root.contents()
    );
    killed();
    let swept = manager.sweep().unwrap();
    assert_eq!((swept.stores, swept.arrays), (1, 2));
    assert!(swept.bytes >= 80_000 && swept.skipped.is_empty());
    assert_eq!(root.contents().len(), 2);
}

#[test]
#[ignore = "runs in a child"]
pub(super) fn child_kills_itself() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let _named = manager.options().name("xs").zeros::<f64, _>(5000).unwrap();
    let _unnamed = manager.zeros::<f64, _>(5000).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn a_sweep_deletes_what_a_dead_member_owned_in_a_store_that_lives() {
    let root = Root::new();
    let manager = root.manager();
    let mine = manager.zeros::<f64, _>(10).unwrap();
    let child = common::start(child_dies_as_an_owner, &[manager.path()]);
    assert_eq!(child.wait_with_output().unwrap().status.signal(), Some(9));
    std::fs::File::create(manager.path().join(words::draft(2) + "abcdef"))
        .unwrap()
        .write_all(b"half")
        .unwrap();
    assert_eq!(manager.list().unwrap().len(), 3);
    let swept = manager.sweep().unwrap();
    assert_eq!((swept.stores, swept.arrays), (0, 1));
    let left: Vec<_> = manager
        .list()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(left, [None, Some("kept".to_owned())]);
    assert!(
        mine.path().exists() && root.contents().len() == 4,
        "{:?}",
        root.contents()
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_dies_as_an_owner() {
    let manager = Manager::open(common::arguments().remove(0)).unwrap();
    let _local = manager
        .options()
        .name("owned")
        .scope(Scope::Local)
        .zeros::<f64, _>(10)
        .unwrap();
    let _kept = manager.options().name("kept").zeros::<f64, _>(10).unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
}

#[test]
fn a_sweep_leaves_living_stores_and_what_is_not_a_store() {
    let root = Root::new();
    let living = root.manager();
    let mut child = common::start(child_lives_until_it_is_told, &[root.path()]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.by_ref().any(|line| line.unwrap().contains("alive")));
    std::fs::create_dir(root.path().join("not a store")).unwrap();
    std::fs::write(root.path().join("notes.txt"), "mine").unwrap();
    let before = root.contents().len();
    assert_eq!(living.sweep().unwrap().stores, 0);
    assert_eq!(root.contents().len(), before);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
#[ignore = "runs in a child"]
fn child_lives_until_it_is_told() {
    let _manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    println!("alive");
    std::io::stdin().lines().for_each(drop);
    common::done();
}

#[test]
fn half_built_and_half_deleted_stores_are_swept() {
    let root = Root::new();
    for name in [
        "new-abcdef",
        "new-ghijkl",
        "new-thesis",
        "new-zeros",
        "gone-0123",
    ] {
        std::fs::create_dir(root.path().join(format!(".ndshm-{name}"))).unwrap();
    }
    let lock_of = |name: &str| root.path().join(format!(".ndshm-new-{name}/.lock"));
    std::fs::write(lock_of("abcdef"), "ndshmlck").unwrap();
    std::fs::write(lock_of("zeros"), [0; 4096]).unwrap();
    // Not what a maker writes.
    std::fs::write(lock_of("thesis"), "of a user").unwrap();
    // A closer was killed after it renamed the store away.
    let closed = root.manager();
    let left = root.path().join(".ndshm-gone-4567");
    closed
        .zeros::<u8, _>(5)
        .unwrap()
        .set_scope(Scope::Store)
        .unwrap();
    let path = closed.path().join(".lock");
    let lock = std::fs::File::options().write(true).open(path).unwrap();
    let closing = words::flags(words::CLOSING).to_ne_bytes();
    lock.write_all_at(&closing, words::FLAGS_AT).unwrap();
    std::fs::rename(closed.path(), &left).unwrap();
    drop(closed);
    let manager = root.manager();
    assert_eq!(root.contents().len(), 4, "{:?}", root.contents());
    drop(manager);
    assert_eq!(std::fs::read(lock_of("thesis")).unwrap(), b"of a user");
    std::fs::remove_dir_all(root.path().join(".ndshm-new-thesis")).unwrap();
    assert_eq!(root.contents(), NOTHING);
}

// A maker that was late made its draft after the closer had deleted the lock file, and both were
// killed: every sweep reported the draft as foreign, and the directory stayed for ever.
#[test]
fn a_half_deleted_store_that_has_only_drafts_and_no_lock_file_is_swept() {
    let root = Root::new();
    let left = root.path().join(gone_name("run"));
    fs::create_dir(&left).unwrap();
    for maker in [1, 777, (1 << 56) - 2] {
        fs::write(left.join(words::draft(maker) + "abc"), "half").unwrap();
    }
    let leftovers = Observer::leftovers_in(root.path()).unwrap();
    let swept = Manager::sweep_root(root.path()).unwrap();
    assert!(swept.skipped.is_empty(), "{:?}", swept.skipped);
    assert_eq!((leftovers.len(), swept.half_made), (1, 3), "{leftovers:?}");
    assert!(swept.bytes > 0);
    assert_eq!(root.contents(), NOTHING);
}

// Such a directory may also be a user's that has a name like those: one entry that is no draft
// keeps all of them.
#[test]
fn drafts_without_a_lock_file_stay_beside_anything_else_and_under_other_names() {
    type Other = (&'static str, String, fn(&Path));
    let draft = words::draft(1) + "abc";
    let others: [Other; 7] = [
        ("a note", "notes.txt".into(), file),
        ("an array", "xs.ndshm".into(), file),
        ("a damaged lock file", ".lock".into(), file),
        ("no member's draft", words::draft(0) + "abc", file),
        ("a draft without a check", ".ndshm-new-7-abc".into(), file),
        (
            "a directory called like a draft",
            words::draft(2) + "abc",
            |path| {
                fs::create_dir(path).unwrap();
            },
        ),
        (
            "a link called like a draft",
            words::draft(2) + "abc",
            |path| {
                std::os::unix::fs::symlink("/dev/null", path).unwrap();
            },
        ),
    ];
    for (what, name, make) in others {
        let root = Root::new();
        let left = root.path().join(gone_name("run"));
        fs::create_dir(&left).unwrap();
        chmod(&left, 0o700);
        fs::write(left.join(&draft), "half").unwrap();
        make(&left.join(&name));
        let skipped = Manager::sweep_root(root.path()).unwrap().skipped;
        let is_reported = |error: &Error| error.to_string().contains(&name);
        assert!(skipped.iter().any(is_reported), "{what}: {skipped:?}");
        assert!(left.join(&draft).exists(), "{what}");
        assert!(fs::symlink_metadata(left.join(&name)).is_ok(), "{what}");
    }
    // A store that lost its lock file by hand is not half deleted.
    let root = Root::new();
    let store = root.path().join("run");
    fs::create_dir(&store).unwrap();
    fs::write(store.join(&draft), "half").unwrap();
    Manager::sweep_root(root.path()).unwrap();
    assert!(store.join(&draft).exists());
}

fn file(path: &Path) {
    fs::write(path, "mine").unwrap();
}

#[test]
fn a_leftover_that_cannot_be_swept_is_reported_and_does_not_stop_the_rest() {
    let root = Root::new();
    let manager = root.manager();
    let child = common::start(child_dies_as_an_owner, &[manager.path()]);
    assert_eq!(child.wait_with_output().unwrap().status.signal(), Some(9));
    let broken = manager.path().join("broken.ndshm");
    std::fs::write(&broken, "x").unwrap();
    chmod(&broken, 0o600);
    // Drafts of a dead member and of one that never was, and files that have names like theirs.
    for maker in [2, 777] {
        std::fs::write(manager.path().join(words::draft(maker) + "x"), "half").unwrap();
    }
    let no_member = [
        words::draft(0) + "x",
        words::draft((1 << 56) - 1) + "x",
        words::draft(2) + "x-x",
        ".ndshm-new-0000000000000002-x".to_owned(),
        ".ndshm-new-2-x".to_owned(),
    ];
    for name in &no_member {
        std::fs::write(manager.path().join(name), "mine").unwrap();
    }
    std::fs::create_dir_all(root.path().join(".ndshm-gone-1/not ours")).unwrap();
    std::fs::create_dir(root.path().join(".ndshm-gone-2")).unwrap();
    let swept = manager.sweep().unwrap();
    assert_eq!((swept.stores, swept.arrays), (0, 1));
    let skipped: Vec<_> = swept.skipped.iter().map(ToString::to_string).collect();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(
        skipped[0].contains("broken.ndshm") && skipped[1].contains("not ours"),
        "{skipped:?}"
    );
    let contents = root.contents();
    assert_eq!(
        contents.len(),
        4 + no_member.len() + 2,
        "the store, its lock, the array that was kept, the broken one; the others: {contents:?}"
    );
    root.manager();
}

/// The name that a closer gives to a store called `name`.
fn gone_name(name: &str) -> String {
    format!(".ndshm-gone-0189f7e2c3d47a5b8c9d0e1f2a3b4c5d-{name}")
}

/// The one error of a sweep of `root`, about `path`.
fn refusal(root: &Root, path: &Path) -> String {
    let skipped = Manager::sweep_root(root.path()).unwrap().skipped;
    let [error @ Error::Untrusted { path: found, .. }] = &skipped[..] else {
        panic!("{skipped:?}");
    };
    assert_eq!(found, path);
    error.to_string()
}

/// Does what an error advises.
fn run_advice(error: &str) {
    let command = error.split_once("give it a name with ").unwrap().1;
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}

// A closer that finds another store in the place of its own has renamed that one away, and puts it
// back. Where it was killed in between, the store stayed in `.ndshm-gone-*`, with its members and
// its data, and a sweep only advised to rename it back: it did not say to which name.
#[test]
fn a_store_that_was_renamed_away_where_another_one_was_is_put_back_by_a_sweep() {
    for name in ["run-7", "it's run 8"] {
        for by_a_new_manager in [false, true] {
            let root = Root::new();
            let path = root.path().join(name);
            let store = Manager::create(&path).unwrap();
            store.options().name("xs").ones::<f64, _>(3).unwrap();
            fs::rename(&path, root.path().join(gone_name(name))).unwrap();
            if by_a_new_manager {
                root.manager();
            } else {
                let swept = Manager::sweep_root(root.path()).unwrap();
                assert_eq!((swept.stores, swept.skipped.len()), (0, 0), "{swept:?}");
            }
            let xs = store.array::<f64, Ix1>("xs").unwrap();
            assert_eq!(xs.read().unwrap().sum(), 3.0);
            store.close().unwrap();
            assert_eq!(root.contents(), NOTHING);
        }
    }
}

// An ephemeral store with members is put back too; without, it is deleted where it is.
#[test]
fn an_ephemeral_store_that_was_renamed_away_is_put_back_while_a_process_uses_it() {
    let root = Root::new();
    let store = root.manager();
    let xs = store.options().name("xs").ones::<f64, _>(3).unwrap();
    let name = store.path().file_name().unwrap().to_str().unwrap();
    let away = root.path().join(gone_name(name));
    fs::rename(store.path(), &away).unwrap();
    assert!(Manager::sweep_root(root.path()).unwrap().skipped.is_empty());
    assert!(store.contains("xs").unwrap() && !away.exists());
    drop((xs, store));
    assert_eq!(root.contents(), NOTHING);
    common::run(child_leaves_a_store_that_was_renamed, &[root.path()]);
    assert_eq!(Manager::sweep_root(root.path()).unwrap().stores, 1);
    assert_eq!(root.contents(), NOTHING);
}

// A directory that others may enter is not trusted. That is no reason to delete what is in it.
#[test]
fn a_whole_store_that_was_renamed_away_and_is_not_trusted_stays() {
    for arrays in [0, 1] {
        let root = Root::new();
        let path = root.path().join("run-7");
        let store = Manager::create(&path).unwrap();
        for _ in 0..arrays {
            store.options().name("xs").ones::<f64, _>(3).unwrap();
        }
        let away = root.path().join(gone_name("run-7"));
        fs::rename(&path, &away).unwrap();
        chmod(&away, 0o750);
        let swept = Manager::sweep_root(root.path()).unwrap();
        assert_eq!((swept.stores, swept.skipped.len()), (0, 1), "{swept:?}");
        assert!(swept.skipped[0].to_string().ends_with("chmod 700"));
        chmod(&away, 0o700);
        let swept = Manager::sweep_root(root.path()).unwrap();
        assert_eq!((swept.stores, swept.skipped.len()), (0, 0), "{swept:?}");
        assert_eq!(store.list().unwrap().len(), arrays);
        store.close().unwrap();
        assert_eq!(root.contents(), NOTHING);
    }
}

#[test]
fn a_store_that_was_renamed_away_and_has_no_place_stays_until_a_user_gives_it_a_name() {
    let root = Root::new();
    for (name, away, is_taken) in [
        ("run-7", gone_name("run-7"), true),
        ("it's run 8", gone_name("it's run 8"), true),
        // Renamed by hand.
        ("run-9", ".ndshm-gone-0123".into(), false),
        ("run-10", gone_name(".ndshm-gone-0123"), false),
    ] {
        let path = root.path().join(name);
        let store = Manager::create(&path).unwrap();
        store.options().name("xs").ones::<f64, _>(3).unwrap();
        let away = root.path().join(away);
        fs::rename(&path, &away).unwrap();
        let other = is_taken.then(|| Manager::create(&path).unwrap());
        let error = refusal(&root, &away);
        assert_eq!(refusal(&root, &away), error);
        run_advice(&error);
        let named = if is_taken { name } else { "restored" };
        let found = Manager::open(root.path().join(format!("{named}-1"))).unwrap();
        let xs = found.array::<f64, Ix1>("xs").unwrap();
        assert_eq!(xs.read().unwrap().sum(), 3.0);
        found.close().unwrap();
        other.into_iter().for_each(|other| other.close().unwrap());
        assert_eq!(root.contents(), NOTHING);
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_leaves_a_store_that_was_renamed() {
    let root = PathBuf::from(common::arguments().remove(0));
    let manager = Manager::builder().root(&root).create().unwrap();
    std::fs::rename(manager.path(), root.join(".ndshm-gone-4567")).unwrap();
    std::mem::forget(manager);
    common::done();
}

/// A killed import left 86 MiB, and the sweep that deleted it with its store reported "0 arrays,
/// 0 B". What a sweep announces, it also reports, and it is what was there.
#[test]
fn a_sweep_counts_every_file_that_it_deletes_and_usage_every_file_that_stays() {
    for (death, arrays, half_made) in [
        ("while it fills an array", 0, 1),
        ("with an array that it returned", 1, 0),
        ("with a file that it kept", 0, 1),
        ("amid a release", 1, 0),
    ] {
        let root = Root::new();
        let manager = root.manager();
        let store = manager.path().display().to_string();
        let whole = root.path().display().to_string();
        // In a store that lives.
        die(&["living", death, &store]);
        let usage = manager.usage().unwrap();
        let there = usage.allocated + usage.kept;
        assert!(there >= 8 * ELEMENTS as u64, "{death}: {usage:?}");
        let leftovers = Observer::open(&store).unwrap().leftovers().unwrap();
        let swept = manager.sweep().unwrap();
        let counts = (swept.arrays, swept.half_made, swept.bytes);
        assert_eq!(counts, (arrays, half_made, there), "{death}");
        assert_eq!(counts, sum(&leftovers), "{death}");
        let usage = manager.usage().unwrap();
        assert_eq!((usage.allocated, usage.kept), (0, 0), "{death}");
        // With its store.
        die(&["deserted", death, &whole]);
        let leftovers = Observer::leftovers_in(root.path()).unwrap();
        let swept = Manager::sweep_root(root.path()).unwrap();
        let counts = (swept.arrays, swept.half_made, swept.bytes);
        assert_eq!(swept.stores, 1, "{death}");
        assert_eq!(counts, (arrays, half_made, there), "{death}");
        assert_eq!(counts, sum(&leftovers), "{death}");
    }
}

const ELEMENTS: usize = 50_000;

fn sum(leftovers: &[Leftovers]) -> (usize, usize, u64) {
    leftovers.iter().fold((0, 0, 0), |sum, found| {
        (
            sum.0 + found.arrays,
            sum.1 + found.half_made,
            sum.2 + found.bytes,
        )
    })
}

fn die(arguments: &[&str]) {
    let child = common::start(child_dies_with_elements, arguments);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
}

#[test]
#[ignore = "runs in a child"]
fn child_dies_with_elements() {
    let [place, death, path] = &common::arguments()[..] else {
        panic!()
    };
    let end = || {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
    };
    let builder = Manager::builder().recycle(1 << 30);
    let manager = match place.as_str() {
        "living" => builder.path(path).open().unwrap(),
        _ => builder.root(path).create().unwrap(),
    };
    match death.as_str() {
        "while it fills an array" => {
            let fill = |i| {
                if i == ELEMENTS - 1 {
                    end();
                }
                1.0f64
            };
            manager.from_shape_fn(ELEMENTS, fill).map(drop).unwrap();
        }
        "with an array that it returned" => {
            let xs = manager.from_elem(ELEMENTS, 1.0).unwrap();
            xs.set_scope(Scope::Local).unwrap();
            println!("{}", xs.handle());
            end();
        }
        "with a file that it kept" => drop(manager.from_elem(ELEMENTS, 1.0).unwrap()),
        _ => {
            let xs = manager.from_elem(ELEMENTS, 1.0).unwrap();
            let file = std::fs::File::options().write(true).open(xs.path());
            let released = words::RELEASED.to_ne_bytes();
            file.unwrap()
                .write_all_at(&released, words::LIFECYCLE_AT)
                .unwrap();
            end();
        }
    }
    end();
}
