//! Flipped bits in the shared words that decide over a deletion: nothing is deleted, and a sweep
//! says why.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root, words};
use ndarray::Ix1;
use ndshm::{Error, HeaderError, Manager, Scope, Severity, SharedArray1, Swept, verify};
use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Calls `look` once for each bit of these bytes of a file, while the bit is flipped.
fn with_each_flip(path: &Path, bytes: Range<u64>, mut look: impl FnMut(u64)) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let start = bytes.start;
    let read = || {
        let mut word = vec![0; (bytes.end - start) as usize];
        file.read_exact_at(&mut word, start).unwrap();
        word
    };
    for bit in 8 * start..8 * bytes.end {
        let before = read();
        let mut flipped = before.clone();
        flipped[(bit / 8 - start) as usize] ^= 1 << (bit % 8);
        file.write_all_at(&flipped, start).unwrap();
        look(bit);
        // As it was, unless the library set the word anew.
        if read() == flipped {
            file.write_all_at(&before, start).unwrap();
        }
    }
}

fn texts(swept: &Swept) -> Vec<String> {
    swept.skipped.iter().map(ToString::to_string).collect()
}

fn word(path: &Path, at: u64) -> u64 {
    let mut word = [0; 8];
    let file = File::open(path).unwrap();
    file.read_exact_at(&mut word, at).unwrap();
    u64::from_ne_bytes(word)
}

/// One flipped bit in the owner word named a member that never was, so each sweep deleted a sound
/// array: 24 of 24 bits, beside a living owner too.
#[test]
fn a_flipped_bit_in_a_word_of_an_array_deletes_nothing_and_the_sweep_says_so() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let other = root.manager_that_forgets();
    for scope in [Scope::Local, Scope::Remote, Scope::Store] {
        let options = manager.options().name("xs").scope(scope);
        let xs = options.from_elem(100, 1.0).unwrap();
        let path = xs.path().to_path_buf();
        let find = |swept: &Swept| {
            let named = texts(swept);
            named.iter().any(|text| text.contains("xs.ndshm"))
        };
        for (at, len, is_reported) in [
            (words::OWNER_AT, 8, true),
            (words::LIFECYCLE_AT, 4, true),
            // These decide no deletion.
            (words::FROZEN_AT, 4, false),
            (64, 4, false),
            (76, 12, false),
            (96, 8, false),
            // The end of the owner deletes nothing, which is no matter of a sweep.
            (words::HEIR_AT, 8, false),
            (128, 48, false),
        ] {
            with_each_flip(&path, at..at + len, |bit| {
                let what = format!("{scope:?}, bit {bit}");
                let swept = manager.sweep().unwrap();
                assert_eq!((swept.arrays, swept.stores), (0, 0), "{what}");
                assert_eq!(find(&swept), is_reported, "{what}: {swept:?}");
                let from_outside = Manager::sweep_root(root.path()).unwrap();
                assert_eq!(find(&from_outside), is_reported, "{what}");
                drop(root.manager());
                // An opening of it, by any path, and its end.
                let opened = SharedArray1::<f64>::open_path(&path);
                if is_reported && at == words::LIFECYCLE_AT {
                    let error = opened.unwrap_err();
                    assert!(
                        matches!(
                            error,
                            Error::Header {
                                source: HeaderError::Lifecycle { .. },
                                ..
                            } | Error::Released { .. }
                        ),
                        "{what}: {error}"
                    );
                } else {
                    drop(opened);
                }
                assert!(path.exists(), "{what}: deleted");
                if [words::OWNER_AT, words::LIFECYCLE_AT, words::HEIR_AT].contains(&at) {
                    let found = verify(&path).unwrap().findings;
                    let is_damage = found.iter().any(|found| found.severity == Severity::Damage);
                    assert!(is_damage, "{what}: {found:?}");
                }
            });
        }
        assert_eq!(xs.read().unwrap().sum(), 100.0);
        assert!(manager.sweep().unwrap().skipped.is_empty());
        manager.remove("xs").unwrap();
    }
    other.close().unwrap();
}

/// The same where the owner is dead: a sweep must not take its own guess for an answer.
#[test]
fn an_array_of_a_dead_owner_whose_word_is_damaged_stays_until_its_scope_is_set() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    common::run(child_leaves_a_local_array, &[manager.path()]);
    let path = manager.path().join("xs.ndshm");
    let damaged = word(&path, words::OWNER_AT) ^ 1 << 3;
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&damaged.to_ne_bytes(), words::OWNER_AT)
        .unwrap();
    let swept = manager.sweep().unwrap();
    assert_eq!((swept.arrays, swept.skipped.len()), (0, 1), "{swept:?}");
    assert!(matches!(
        &swept.skipped[0],
        Error::Header { source: HeaderError::Owner { found }, .. } if *found == damaged
    ));
    assert!(texts(&swept)[0].contains("set its scope anew"), "{swept:?}");
    // Its elements are sound, and a process that takes the array gives it a sound word.
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    assert_eq!((xs.read().unwrap().sum(), xs.scope()), (10.0, Scope::Store));
    assert_eq!(word(&path, words::OWNER_AT), damaged);
    xs.set_scope(Scope::Store).unwrap();
    assert_eq!(word(&path, words::OWNER_AT), 0);
    assert!(manager.sweep().unwrap().skipped.is_empty());
    xs.set_scope(Scope::Local).unwrap();
    drop(xs);
    assert!(!path.exists());
}

#[test]
#[ignore = "runs in a child"]
fn child_leaves_a_local_array() {
    let manager = Manager::open(common::arguments().remove(0)).unwrap();
    let options = manager.options().name("xs").scope(Scope::Local);
    std::mem::forget(options.from_elem(10, 1.0).unwrap());
    common::done();
}

/// A flipped bit made an array frozen for one process and not for another: readers then take no
/// guard, while a writer writes.
#[test]
fn a_damaged_frozen_flag_lets_an_array_be_read_with_guards_and_not_be_written() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let xs = manager.options().name("xs").from_elem(10, 1.0).unwrap();
    let path = xs.path().to_path_buf();
    with_each_flip(&path, words::FROZEN_AT..words::FROZEN_AT + 4, |bit| {
        let refused = |result: Result<(), Error>| {
            let error = result.unwrap_err();
            assert!(
                matches!(
                    &error,
                    Error::Header {
                        source: HeaderError::Frozen { .. },
                        ..
                    }
                ),
                "{bit}: {error}"
            );
        };
        let opened = SharedArray1::open_path(&path).unwrap();
        for array in [&xs, &opened] {
            assert!(!array.is_frozen(), "{bit}");
            assert_eq!(array.read().unwrap().sum(), 10.0);
            refused(array.write().map(drop));
            refused(array.recover().map(drop));
            refused(array.freeze().map(drop));
        }
    });
    xs.write().unwrap().fill(2.0);
    assert_eq!(xs.freeze().unwrap().sum(), 20.0);
    with_each_flip(&path, words::FROZEN_AT..words::FROZEN_AT + 4, |bit| {
        let opened = SharedArray1::<f64>::open_path(&path).unwrap();
        assert!(opened.write().is_err(), "{bit}");
        assert_eq!(opened.read().unwrap().sum(), 20.0);
    });
}

/// The words of a store: its flags, its counter of members, its boot and its id.
const OF_STORES: [(&str, Range<u64>); 6] = [
    ("magic", 0..16),
    ("next member", 16..24),
    ("owner", 24..32),
    ("flags", 32..36),
    ("id", 40..56),
    ("boot", 56..72),
];

fn is_whole(store: &Path) -> bool {
    store.join(".lock").exists() && store.join("xs.ndshm").exists()
}

#[test]
fn a_flipped_bit_in_a_store_s_lock_file_lets_no_sweep_and_no_maker_delete_it() {
    let root = Root::new();
    let path = root.path().join("kept");
    common::run(child_leaves_a_persistent_store, &[&path]);
    for (what, bytes) in OF_STORES {
        with_each_flip(&path.join(".lock"), bytes, |bit| {
            let what = format!("{what}, bit {bit}");
            let swept = Manager::sweep_root(root.path()).unwrap();
            assert_eq!((swept.stores, swept.arrays), (0, 0), "{what}");
            if what.starts_with("flags") || what.starts_with("magic") {
                assert!(!swept.skipped.is_empty(), "{what}: {swept:?}");
            }
            if what.starts_with("flags") || what.starts_with("next") {
                // The sweep of the files corrected the counter, because it joined the store.
                let is_corrected = verify(&path).unwrap().is_sound();
                assert_eq!(is_corrected, what.starts_with("next"), "{what}");
            }
            drop(root.manager());
            let _ = Manager::open(&path).map(drop);
            let _ = Manager::builder().path(&path).create().map(drop);
            assert!(is_whole(&path), "{what}: deleted");
        });
    }
    let store = Manager::open(&path).unwrap();
    assert_eq!(
        store.array::<f64, Ix1>("xs").unwrap().read().unwrap().sum(),
        5.0
    );
    store.close().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_leaves_a_persistent_store() {
    let manager = Manager::create(common::arguments().remove(0)).unwrap();
    manager.options().name("xs").ones::<f64, _>(5).unwrap();
    common::done();
}

#[test]
fn a_store_with_damaged_flags_is_not_closed_until_they_are_written_anew() {
    let root = Root::new();
    for is_persistent in [true, false] {
        for bit in 0..32 {
            let what = format!("persistent {is_persistent}, bit {bit}");
            let builder = Manager::builder().root(root.path());
            let builder = if is_persistent {
                builder.persistent()
            } else {
                builder
            };
            let manager = builder.create().unwrap();
            manager.options().name("xs").ones::<f64, _>(5).unwrap();
            let path = manager.path().to_path_buf();
            let flip = || {
                let lock = path.join(".lock");
                let file = File::options().read(true).write(true).open(lock).unwrap();
                let mut byte = [0];
                let at = words::FLAGS_AT + bit / 8;
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], at).unwrap();
            };
            flip();
            let error = manager.close().unwrap_err();
            assert!(
                matches!(error, Error::Untrusted { .. }) && error.to_string().contains("persist"),
                "{what}: {error}"
            );
            drop(manager);
            drop(root.manager());
            Manager::sweep_root(root.path()).unwrap();
            assert!(is_whole(&path), "{what}: deleted");
            // Other processes go on with it, and one of them mends it.
            let store = Manager::open(&path).unwrap();
            assert_eq!(store.list().unwrap().len(), 1);
            store.persist().unwrap();
            assert!(verify(&path).unwrap().is_sound(), "{what}");
            store.close().unwrap();
            assert!(!path.exists());
        }
    }
}

/// The id of the member that builds a file stands in the file's name.
#[test]
fn a_draft_whose_name_is_damaged_is_not_taken_for_one_of_a_dead_member() {
    let root = Root::new();
    let manager = root.manager();
    let name = words::draft(1) + "abc";
    for bit in 0..8 * name.len() {
        let mut damaged = name.clone().into_bytes();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(damaged) = String::from_utf8(damaged) else {
            continue;
        };
        if damaged.contains(['/', '\0']) {
            continue;
        }
        let path: PathBuf = manager.path().join(&damaged);
        fs::write(&path, "being built").unwrap();
        let swept = manager.sweep().unwrap();
        assert!(path.exists(), "{damaged}: {swept:?}");
        drop(root.manager());
        Manager::sweep_root(root.path()).unwrap();
        assert!(path.exists(), "{damaged}");
        fs::remove_file(&path).unwrap();
    }
}
