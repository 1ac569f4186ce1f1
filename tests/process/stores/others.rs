//! Files and directories of others in a store and in a root: neither a close nor a sweep deletes
//! one, whatever its name is, and none follows a link.

use super::NOTHING;
use crate::common::{Root, words};
use ndshm::{Error, Manager, Observer, Scope, Severity};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// A file of the user that a store could take for its own.
struct Other {
    what: &'static str,
    name: &'static str,
    make: fn(&Path, &Root),
}

fn note(path: &Path, _: &Root) {
    fs::write(path, "mine").unwrap();
}

fn link(path: &Path, root: &Root) {
    symlink(root.path().join("keep.txt"), path).unwrap();
}

fn fifo(path: &Path, _: &Root) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn array_of_another_store(path: &Path, root: &Root) {
    let other = Manager::builder().root(root.path()).create().unwrap();
    let array = other.ones::<f64, _>(5).unwrap();
    fs::copy(array.path(), path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn released_array_of_another_store(path: &Path, root: &Root) {
    array_of_another_store(path, root);
    let file = fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &2u32.to_ne_bytes(), 68).unwrap();
}

fn hard_link_to_an_array_of_another_store(path: &Path, root: &Root) {
    let other = Manager::builder().root(root.path()).create().unwrap();
    let array = other.options().name("xs").ones::<f64, _>(5).unwrap();
    fs::hard_link(array.path(), path).unwrap();
}

fn directory(path: &Path, _: &Root) {
    fs::create_dir(path).unwrap();
}

fn file_of_another_user(path: &Path, _: &Root) {
    fs::write(path, "mine").unwrap();
    // Tests that are not run by root leave a note.
    let _ = std::os::unix::fs::chown(path, Some(12_345), None);
}

const OTHERS: [Other; 16] = [
    Other {
        what: "a released array of another store",
        name: "x.ndshm",
        make: released_array_of_another_store,
    },
    Other {
        what: "a hard link to an array of another store",
        name: "x.ndshm",
        make: hard_link_to_an_array_of_another_store,
    },
    Other {
        what: "a directory",
        name: "x.ndshm",
        make: directory,
    },
    Other {
        what: "a directory",
        name: ".ndshm-new-1-abc",
        make: directory,
    },
    Other {
        what: "a file of another user",
        name: "x.ndshm",
        make: file_of_another_user,
    },
    Other {
        what: "a note",
        name: "x.ndshm",
        make: note,
    },
    Other {
        what: "a note",
        name: ".ndshm-new-thesis",
        make: note,
    },
    Other {
        what: "a note",
        name: ".ndshm-new-0000000000000001-abc",
        make: note,
    },
    Other {
        what: "a draft of no member",
        name: ".ndshm-new-0000000000000000-abc",
        make: note,
    },
    Other {
        what: "a note",
        name: "notes.txt",
        make: note,
    },
    Other {
        what: "a link",
        name: "x.ndshm",
        make: link,
    },
    Other {
        what: "a link",
        name: ".ndshm-new-0700000000000001-abc",
        make: link,
    },
    Other {
        what: "a FIFO",
        name: "x.ndshm",
        make: fifo,
    },
    Other {
        what: "a FIFO",
        name: ".ndshm-new-0700000000000001-abc",
        make: fifo,
    },
    Other {
        what: "an array of another store",
        name: "x.ndshm",
        make: array_of_another_store,
    },
    Other {
        what: "an array of another store",
        name: "0189f7e2c3d47a5b8c9d0e1f2a3b4c5d.ndshm",
        make: array_of_another_store,
    },
];

// `verify` called a note that is called like an array damage, and so did a look at the store, while
// a close said that it is not the store's.
fn check_reports(manager: &Manager, other: &Path, what: &str) {
    let found = ndshm::verify(manager.path()).unwrap();
    let [finding] = &found.findings[..] else {
        panic!("{what}: {found:?}");
    };
    let expected = (Severity::Stray, other.to_path_buf());
    assert_eq!((finding.severity, finding.path.clone()), expected, "{what}");
    let observer = Observer::open(manager.path()).unwrap();
    assert_eq!(observer.strays().unwrap(), [other], "{what}");
    let arrays = observer.arrays().unwrap();
    assert!(matches!(&arrays[..], [Ok(_)]), "{what}: {arrays:?}");
    for error in manager.sweep().unwrap().skipped {
        assert!(
            error.to_string().contains("move it away"),
            "{what}: {error}"
        );
    }
    let is_called_like_an_array = other.extension().is_some_and(|suffix| suffix == "ndshm");
    if is_called_like_an_array && !other.is_dir() {
        let alone = ndshm::verify(other).unwrap().findings;
        assert_eq!(alone, found.findings, "{what}");
    }
}

// Names alone decided once: a close deleted all of these.
#[test]
fn a_store_with_a_file_of_others_is_not_closed_and_the_file_stays() {
    for Other { what, name, make } in OTHERS {
        for is_persistent in [true, false] {
            let what = format!("{what} called {name}, persistent {is_persistent}");
            let root = Root::new();
            fs::write(root.path().join("keep.txt"), "mine").unwrap();
            let settings = Manager::builder().root(root.path()).name("run");
            let settings = if is_persistent {
                settings.persistent()
            } else {
                settings
            };
            let manager = settings.create().unwrap();
            manager.options().name("own").ones::<f64, _>(5).unwrap();
            let other = manager.path().join(name);
            make(&other, &root);
            check_reports(&manager, &other, &what);
            let closed = manager.close();
            assert!(
                matches!(closed, Err(Error::Untrusted { .. })),
                "{what}: {closed:?}"
            );
            assert_eq!(
                manager.array::<f64, ndarray::Ix1>("own").unwrap().len(),
                5,
                "{what}"
            );
            manager.sweep().unwrap();
            drop(manager);
            root.manager().sweep().unwrap();
            assert!(fs::symlink_metadata(&other).is_ok(), "{what} is gone");
            fs::remove_file(&other)
                .or_else(|_| fs::remove_dir(&other))
                .unwrap();
            if is_persistent {
                Manager::open(other.parent().unwrap())
                    .unwrap()
                    .close()
                    .unwrap();
            }
            // A child of another test may hold the lock file until it has started its program.
            let deadline = Instant::now() + Duration::from_secs(10);
            while root.contents() != [root.path().join("keep.txt")] {
                assert!(Instant::now() < deadline, "{what}: {:?}", root.contents());
                root.manager();
            }
        }
    }
}

/// Directories with the names of stores that are being made or deleted.
const NAMES: [&str; 4] = [
    ".ndshm-gone-x",
    ".ndshm-new-x",
    ".ndshm-new-thesis",
    ".ndshm-gone-0189f7e2c3d47a5b8c9d0e1f2a3b4c5d",
];

// Each new manager sweeps its root, so each deleted the files in these directories, behind links
// too.
#[test]
fn a_sweep_of_a_root_deletes_no_directory_of_others_and_follows_no_link() {
    for name in NAMES {
        for is_link in [false, true] {
            let root = Root::new();
            let elsewhere = tempfile::tempdir().unwrap();
            let place = root.path().join(name);
            if is_link {
                symlink(elsewhere.path(), &place).unwrap();
            } else {
                fs::create_dir(&place).unwrap();
            }
            let files = ["thesis.tex", "x.ndshm", ".ndshm-new-0700000000000001-abc"];
            for file in files {
                fs::write(place.join(file), "mine").unwrap();
            }
            let manager = root.manager();
            manager.sweep().unwrap();
            Manager::sweep_root(root.path()).unwrap();
            drop(manager);
            for file in files {
                assert_eq!(
                    fs::read(place.join(file)).unwrap(),
                    b"mine",
                    "{name} {file}"
                );
            }
        }
    }
}

// A store that was renamed away to be deleted keeps a file of others that came into it.
#[test]
fn a_store_that_is_half_deleted_keeps_a_file_of_others_and_is_deleted_without_it() {
    let root = Root::new();
    let manager = root.manager();
    manager
        .zeros::<u8, _>(5)
        .unwrap()
        .set_scope(Scope::Store)
        .unwrap();
    let away = root.path().join(".ndshm-gone-0123");
    let lock = fs::File::options()
        .write(true)
        .open(manager.path().join(".lock"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &lock,
        &words::flags(words::CLOSING).to_ne_bytes(),
        32,
    )
    .unwrap();
    fs::write(manager.path().join("notes.txt"), "mine").unwrap();
    fs::rename(manager.path(), &away).unwrap();
    drop(manager);
    let skipped = Manager::sweep_root(root.path()).unwrap().skipped;
    assert!(skipped[0].to_string().contains("notes.txt"), "{skipped:?}");
    assert_eq!(fs::read(away.join("notes.txt")).unwrap(), b"mine");
    fs::remove_file(away.join("notes.txt")).unwrap();
    assert!(Manager::sweep_root(root.path()).unwrap().skipped.is_empty());
    assert_eq!(root.contents(), NOTHING);
}
