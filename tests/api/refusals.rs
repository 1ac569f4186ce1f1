//! Untrusted input: files and directories that any user could have made, and values of other
//! versions.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root};
use ndarray::{Ix1, s};
use ndshm::{ArrayId, Error, Handle, HeaderError, Manager, SharedArray1};
use rustix::{
    fs::{CWD, FileType, Mode},
    process::geteuid,
};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{FileExt, PermissionsExt, chown, symlink},
    path::Path,
};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Requires that the path is not trusted, for a reason that has these words.
#[track_caller]
fn assert_untrusted<T>(result: ndshm::Result<T>, path: &Path, words: &str) {
    match result.map(drop) {
        Err(Error::Untrusted {
            path: found,
            reason,
        }) if found == path && reason.contains(words) => {}
        other => panic!(
            "{other:?}, expected a refusal of {} with {words:?}",
            path.display()
        ),
    }
}

#[test]
fn what_is_not_a_plain_file_is_not_opened_as_an_array() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let at = |name: &str| manager.path().join(name);
    symlink(xs.path(), at("link.ndshm")).unwrap();
    fs::create_dir(at("directory.ndshm")).unwrap();
    // Opening a pipe for reading and writing does not wait, and succeeds.
    rustix::fs::mknodat(
        CWD,
        at("pipe.ndshm"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for (name, words) in [
        ("link", "a symbolic link"),
        ("directory", "not a regular file"),
        ("pipe", "not a regular file"),
    ] {
        let path = at(&format!("{name}.ndshm"));
        assert_untrusted(SharedArray1::<f64>::open_path(&path), &path, words);
        assert_untrusted(manager.array::<f64, Ix1>(name), &path, words);
    }
    for name in ["link.ndshm", "pipe.ndshm"] {
        fs::remove_file(at(name)).unwrap();
    }
    fs::remove_dir(at("directory.ndshm")).unwrap();
}

#[test]
fn an_array_file_must_be_the_user_s_and_writable_by_no_other_user() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let xs = manager.options().name("xs").ones::<f64, _>(3).unwrap();
    let (path, handle) = (&*xs.path().to_path_buf(), xs.handle());
    // A process opens an array that it has open without a look at the file.
    drop(xs);
    chmod(path, 0o620);
    assert_untrusted(handle.open::<f64, Ix1>(), path, "its mode is 620");
    assert_untrusted(handle.info(), path, "its mode is 620");
    // For root opening succeeds, for others it fails: the error is one.
    chmod(path, 0o400);
    assert!(matches!(
        handle.open::<f64, Ix1>(),
        Err(Error::ReadOnly { path: found, .. }) if found == path
    ));
    chmod(path, 0o600);
    if geteuid().is_root() {
        chown(path, Some(12345), None).unwrap();
        assert_untrusted(handle.open::<f64, Ix1>(), path, "belongs to user 12345");
        chown(path, Some(0), None).unwrap();
    } else {
        common::skip(
            "an_array_file_must_be_the_user_s_and_writable_by_no_other_user",
            "only root can give files away",
        );
    }
    assert_eq!(
        handle.open::<f64, Ix1>().unwrap().read().unwrap().sum(),
        3.0
    );
}

#[test]
fn a_store_of_another_user_is_refused() {
    if !geteuid().is_root() {
        return common::skip(
            "a_store_of_another_user_is_refused",
            "only root can give directories away",
        );
    }
    let root = Root::new();
    let store = root.path().join("store");
    drop(Manager::create(&store).unwrap());
    chown(&store, Some(12345), None).unwrap();
    assert_untrusted(Manager::open(&store), &store, "belongs to user 12345");
}

#[test]
fn a_damaged_lock_file_is_refused_and_says_how() {
    let root = Root::new();
    let store = root.path().join("store");
    drop(Manager::create(&store).unwrap());
    let lock = store.join(".lock");
    let sound = fs::read(&lock).unwrap();
    for (at, bytes, words) in [
        (0, &b"something"[..], "not a lock file"),
        (8, &2u32.to_ne_bytes(), "a later version"),
        (12, &0x0403_0201u32.to_ne_bytes(), "another byte order"),
        (16, &0u64.to_ne_bytes(), "member ids is used up"),
        (16, &(1u64 << 56).to_ne_bytes(), "member ids is used up"),
    ] {
        let file = File::options().write(true).open(&lock).unwrap();
        file.write_all_at(bytes, at).unwrap();
        assert_untrusted(Manager::open(&store), &lock, words);
        file.write_all_at(&sound, 0).unwrap();
    }
    fs::write(&lock, &sound[..100]).unwrap();
    assert_untrusted(Manager::open(&store), &lock, "not a lock file");
    fs::remove_file(&lock).unwrap();
    symlink("/dev/null", &lock).unwrap();
    assert!(matches!(Manager::open(&store), Err(Error::Io { path, .. }) if path == lock));
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, &sound).unwrap();
    chmod(&lock, 0o600);
    assert!(Manager::open(&store).is_ok());
}

#[test]
fn paths_that_lead_nowhere_are_errors() {
    let root = Root::new();
    for path in ["/", "", "none.ndshm", "/none/none.ndshm"] {
        let error = SharedArray1::<f64>::open_path(path).unwrap_err();
        assert!(
            matches!(error, Error::NotFound { .. } | Error::Untrusted { .. }),
            "{path}: {error}"
        );
    }
    assert_untrusted(
        Manager::create("/"),
        Path::new("/"),
        "a directory of its own",
    );
    let below_nothing = root.path().join("none/store");
    assert!(matches!(
        Manager::create(below_nothing),
        Err(Error::Io { path, .. }) if path == root.path().join("none")
    ));
}

#[test]
fn values_of_another_version_are_refused() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.ones::<f64, _>(3).unwrap();
    let edit = |json: String, key: &str, value: serde_json::Value| {
        let mut fields: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(
            fields
                .as_object_mut()
                .unwrap()
                .insert(key.to_owned(), value)
                .is_some(),
            "{key} is no field of {json}"
        );
        fields.to_string()
    };
    let handle = serde_json::to_string(&xs.handle()).unwrap();
    let error = |json: String| {
        serde_json::from_str::<Handle>(&json)
            .unwrap_err()
            .to_string()
    };
    assert!(error(edit(handle.clone(), "version", 9.into())).contains("a handle of version 9"));
    assert!(
        error(edit(handle, "path", "/dev/shm/two words.ndshm".into())).contains("percent-encoded")
    );
    let json = edit(
        serde_json::to_string(&manager).unwrap(),
        "version",
        9.into(),
    );
    assert!(
        serde_json::from_str::<Manager>(&json)
            .unwrap_err()
            .to_string()
            .contains("a manager of version 9")
    );
}

#[test]
fn a_damaged_array_file_tells_nothing_about_itself() {
    let root = Root::new();
    let manager = root.manager_that_forgets();
    let handle = manager
        .options()
        .name("xs")
        .ones::<f64, _>(3)
        .unwrap()
        .handle();
    // The checksum of the head.
    let file = File::options()
        .read(true)
        .write(true)
        .open(handle.path())
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 22).unwrap();
    file.write_all_at(&[!byte[0]], 22).unwrap();
    for error in [
        handle.info().unwrap_err(),
        handle.open::<f64, Ix1>().unwrap_err(),
    ] {
        assert!(
            matches!(
                &error,
                Error::Header {
                    source: HeaderError::Checksum { .. },
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(matches!(
        manager.options().name("xs").open_or_zeros::<f64, _>(3),
        Err(Error::Header { .. })
    ));
    assert!(handle.path().exists(), "what cannot be read is not deleted");
}

#[test]
fn attributes_that_cannot_be_written_and_ids_that_cannot_be_read_are_errors() {
    struct Unwritable;
    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let root = Root::new();
    let manager = root.manager();
    let error = manager.options().attrs(&Unwritable).map(drop).unwrap_err();
    assert!(
        matches!(&error, Error::Attrs { reason } if reason.contains("not today")),
        "{error}"
    );
    assert!(matches!("xs".parse::<ArrayId>(), Err(Error::Handle { .. })));
}

/// The process has two mappings of the file then: the first array stays on the protected one.
#[test]
fn an_array_that_was_opened_for_reading_only_is_opened_for_writing_later() {
    let root = Root::new();
    let manager = root.manager();
    let handle = manager
        .options()
        .name("xs")
        .ones::<f64, _>(4)
        .unwrap()
        .read_only()
        .unwrap()
        .handle();
    let reading: SharedArray1<f64> = handle.open().unwrap();
    let guard = reading.read().unwrap();
    let writing: SharedArray1<f64> = manager.array("xs").unwrap();
    assert!(
        matches!(writing.try_write(), Err(Error::WouldDeadlock { .. })),
        "both mappings share one lock table"
    );
    writing.slice(s![..0]).unwrap().write().unwrap();
    drop(guard);
    writing.write().unwrap().fill(2.0);
    assert_eq!(reading.read().unwrap().sum(), 8.0);
    assert!(matches!(reading.write(), Err(Error::ReadOnly { .. })));
    let guard = reading.read().unwrap();
    let part = reading.subview(&guard.slice(s![1..3])).unwrap();
    assert_eq!((part.len(), part.is_writable()), (2, false));
}
