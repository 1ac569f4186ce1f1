//! Verification: a sound store gives no finding, every byte that the format fixes is checked, and
//! nothing is written.
//!
//! `damage` changes bytes of the files.
#![allow(clippy::unwrap_used, reason = "tests")]

mod damage;

use crate::common::{self, Root, words};
use ndarray::Ix1;
use ndshm::{Error, Finding, Manager, Severity, Verification, verify};
use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

fn severities(found: &Verification) -> Vec<Severity> {
    found
        .findings
        .iter()
        .map(|finding| finding.severity)
        .collect()
}

/// The findings in a file after one change of its bytes, which is undone again.
fn with_change(path: &Path, at: u64, change: &[u8], look_at: &Path) -> Verification {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut before = vec![0; change.len()];
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(change, at).unwrap();
    let found = verify(look_at).unwrap();
    file.write_all_at(&before, at).unwrap();
    found
}

#[test]
fn a_store_in_use_gives_no_finding() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .recycle(1 << 20)
        .create()
        .unwrap();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<f64, _>((30, 40))
        .unwrap();
    let (_remote, frozen) = (
        manager
            .options()
            .scope(ndshm::Scope::Remote)
            .zeros::<u8, _>(5),
        manager.ones::<u8, _>(0).unwrap(),
    );
    let _frozen = frozen.freeze().unwrap();
    manager.zeros::<u8, _>(4000).unwrap().release().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for part in 0..2 {
            let (manager, stop, row) = (
                &manager,
                &stop,
                xs.index_axis(ndarray::Axis(0), part).unwrap(),
            );
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    row.write().unwrap().fill(1.0);
                    drop(row.read().unwrap());
                    drop(manager.zeros::<u8, _>(4000).unwrap());
                }
            });
        }
        let looks: Vec<_> = (0..200).map(|_| verify(manager.path())).collect();
        // Before anything is compared: the threads end by it.
        stop.store(true, SeqCst);
        for found in looks {
            let found = found.unwrap();
            // An array that is just being dropped is released for a moment and has its name still.
            let is_dropping = |finding: &ndshm::Finding| {
                finding
                    .text
                    .starts_with("it was released and still has its name")
            };
            assert!(
                found.findings.iter().all(is_dropping),
                "{:?}",
                found.findings
            );
            assert!(found.arrays >= 3 && found.is_sound());
        }
    });
}

#[test]
fn nothing_is_written() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let path = manager
        .options()
        .name("xs")
        .ones::<f64, _>(1000)
        .unwrap()
        .path()
        .to_path_buf();
    let look = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (
            fs::read(path).unwrap(),
            metadata.mtime_nsec(),
            metadata.ctime_nsec(),
            metadata.ino(),
        )
    };
    let (lock, directory) = (
        manager.path().join(".lock"),
        fs::metadata(manager.path()).unwrap().mtime_nsec(),
    );
    let before = (look(&path), look(&lock));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let before = (
        (before.0.0.clone(), before.0.1, look(&path).2, before.0.3),
        before.1,
    );
    assert_eq!(verify(manager.path()).unwrap().findings, []);
    assert_eq!(verify(&path).unwrap().findings, []);
    assert_eq!((look(&path), look(&lock)), before);
    assert_eq!(
        fs::metadata(manager.path()).unwrap().mtime_nsec(),
        directory
    );
}

#[test]
fn what_does_not_belong_in_a_store_is_found() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>(5).unwrap();
    let store = manager.path();
    let only = |expected: Severity, text: &str| {
        let Verification { findings, .. } = verify(store).unwrap();
        let [
            Finding {
                severity,
                text: found,
                ..
            },
        ] = &findings[..]
        else {
            panic!("{findings:?}")
        };
        assert!(
            *severity == expected && found.contains(text),
            "{findings:?}"
        );
    };
    let mine = store.join("mine");
    fs::write(&mine, "x").unwrap();
    only(Severity::Stray, "move it away");
    fs::remove_file(&mine).unwrap();
    for name in ["a.ndshm", ".ndshm-new-x", "sub"] {
        fs::create_dir(store.join(name)).unwrap();
        only(Severity::Stray, "move it away");
        fs::remove_dir(store.join(name)).unwrap();
    }
    symlink(xs.path(), store.join("link.ndshm")).unwrap();
    only(Severity::Stray, "move it away");
    fs::remove_file(store.join("link.ndshm")).unwrap();
    fs::write(store.join(words::draft(99) + "abc"), "").unwrap();
    only(Severity::Leftover, "its maker died");
    fs::remove_file(store.join(words::draft(99) + "abc")).unwrap();
    // Copies and arrays of other stores.
    let copy = store.join("copy.ndshm");
    fs::copy(xs.path(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(
        verify(store)
            .unwrap()
            .findings
            .iter()
            .any(|finding| finding.text.contains("it has the id of"))
    );
    fs::remove_file(&copy).unwrap();
    let other = root.manager();
    fs::copy(
        other.options().name("ys").zeros::<u8, _>(5).unwrap().path(),
        &copy,
    )
    .unwrap();
    only(Severity::Stray, "move it away");
    // One of this store whose header is damaged is no stray.
    fs::copy(xs.path(), &copy).unwrap();
    for (at, byte) in [(0, 0), (22, 0x55)] {
        let file = File::options().read(true).write(true).open(&copy).unwrap();
        let mut was = [0];
        file.read_exact_at(&mut was, at).unwrap();
        file.write_all_at(&[byte ^ was[0] ^ 1], at).unwrap();
        only(Severity::Damage, "");
        file.write_all_at(&was, at).unwrap();
    }
    // A file that became sparse, one that others may write, one that is no array, one that is cut
    // off.
    fs::remove_file(&copy).unwrap();
    let big = manager
        .options()
        .name("big")
        .ones::<u8, _>(1 << 20)
        .unwrap();
    let bytes = fs::read(big.path()).unwrap();
    let (path, parked) = (big.path().to_path_buf(), root.path().join("parked"));
    fs::rename(&path, &parked).unwrap();
    let sparse = File::options()
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    sparse.set_len(bytes.len() as u64).unwrap();
    sparse.write_all_at(&bytes[..8192], 0).unwrap();
    only(Severity::Damage, "copied with holes");
    sparse
        .set_permissions(fs::Permissions::from_mode(0o666))
        .unwrap();
    only(Severity::Damage, "others may write");
    sparse
        .set_permissions(fs::Permissions::from_mode(0o600))
        .unwrap();
    sparse.set_len(bytes.len() as u64 - 1).unwrap();
    only(Severity::Damage, "its header says");
    fs::write(&path, "no array").unwrap();
    only(Severity::Stray, "move it away");
    fs::rename(&parked, &path).unwrap();
    assert_eq!(verify(store).unwrap().findings, []);
}

#[test]
fn leftovers_of_dead_members_are_reported_as_such() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let path = manager
        .options()
        .name("xs")
        .zeros::<u8, _>(100)
        .unwrap()
        .path()
        .to_path_buf();
    let mut child = common::child_command(child_that_holds_a_guard, &[&path])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::BufRead;
    assert!(
        std::io::BufReader::new(child.stdout.take().unwrap())
            .lines()
            .any(|line| line.unwrap().contains("holding"))
    );
    assert_eq!(verify(manager.path()).unwrap().findings, []);
    child.kill().unwrap();
    child.wait().unwrap();
    let found = verify(manager.path()).unwrap();
    let texts: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding.to_string())
        .collect();
    assert!(found.is_sound() && texts.len() == 2, "{texts:?}");
    assert!(
        texts.iter().any(|text| text.contains(
            "xs.ndshm: leftover: the bytes 0..100 of its data may be half-written, \
             by member 2: recover"
        )),
        "{texts:?}"
    );
    assert!(
        texts
            .iter()
            .any(|text| text.contains("its owner, member 2, is gone: a sweep deletes it")),
        "{texts:?}"
    );
    manager.sweep().unwrap();
    assert_eq!(verify(manager.path()).unwrap().findings.len(), 1);
}

#[test]
#[ignore = "started by others"]
fn child_that_holds_a_guard() {
    let arguments = common::arguments();
    let path = Path::new(&arguments[0]);
    let manager = Manager::open(path.parent().unwrap()).unwrap();
    let array = ndshm::SharedArray::<u8, Ix1>::open_path(path).unwrap();
    let _guard = array.write().unwrap();
    std::mem::forget(manager.zeros::<u8, _>(3).unwrap());
    println!("holding");
    std::thread::sleep(std::time::Duration::from_secs(600));
}

#[test]
fn a_damaged_lock_file_is_a_finding_and_a_missing_store_an_error() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let _xs = manager.options().name("xs").zeros::<u8, _>(5).unwrap();
    let lock = manager.path().join(".lock");
    assert!(
        with_change(&lock, 0, b"x", manager.path()).findings[0]
            .text
            .contains("not a lock file")
    );
    let parked = root.path().join("parked");
    fs::rename(&lock, &parked).unwrap();
    assert!(!verify(manager.path()).unwrap().is_sound());
    fs::write(&lock, "short").unwrap();
    assert!(!verify(manager.path()).unwrap().is_sound());
    fs::rename(&parked, &lock).unwrap();
    fs::set_permissions(manager.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        verify(manager.path()).unwrap().findings[0]
            .text
            .contains("chmod 700")
    );
    fs::set_permissions(manager.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(verify(root.path()), Err(Error::NotFound { .. })));
    assert!(matches!(
        verify(root.path().join("none")),
        Err(Error::NotFound { .. })
    ));
    assert!(!verify("/dev/null").unwrap().is_sound());
}

// The words on which threads wait for a change of atomics counted as bytes that have to be zero.
#[test]
fn an_array_that_threads_wait_for_is_sound() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<u64, _>(80).unwrap();
    let atomics = xs.atomic().unwrap();
    (0..80).for_each(|at| atomics.notify(at));
    drop(atomics);
    assert_eq!(verify(xs.path()).unwrap().findings, []);
    let late = xs.wait_changed(0, std::time::Duration::ZERO);
    assert!(matches!(late, Err(Error::Timeout { .. })), "{late:?}");
    xs.write().unwrap().fill(1);
    xs.slice(ndarray::s![..9]).unwrap().write().unwrap().fill(2);
    assert_eq!(verify(xs.path()).unwrap().findings, []);
    assert_eq!(verify(manager.path()).unwrap().findings, []);
}
