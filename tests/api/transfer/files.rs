//! The files, links and streams that transfers write and read, also where a process dies amid one.

use crate::common::{self, Root};
use ndshm::{Error, Export, Import, Manager};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    time::Duration,
};

#[test]
fn no_file_is_replaced_unless_the_caller_asks_for_it() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let path = scratch.path().join("x");
    fs::write(&path, "mine").unwrap();
    assert!(matches!(
        Export::new().raw(&array, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    Export::new().replace().raw(&array, &path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [1; 3]);
    // A file that appears while this one is written stays too.
    let late = scratch.path().join("late");
    let comes = |_, _| fs::write(&late, "mine").unwrap();
    assert!(matches!(
        Export::new().progress(&comes).raw(&array, &late),
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(fs::read(&late).unwrap(), b"mine");
    assert!(matches!(
        Export::new().replace().raw(&array, scratch.path()),
        Err(Error::Transfer { .. })
    ));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager.ones::<u8, _>(3).unwrap();
    assert!(matches!(
        Export::new().npy(&array, scratch.path().join("not/there")),
        Err(Error::Io { .. })
    ));
    let _held = array.write().unwrap();
    assert!(matches!(
        Export::new().npy(&array, scratch.path().join("x")),
        Err(Error::WouldDeadlock { .. })
    ));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn an_exported_file_has_the_permissions_that_the_umask_leaves() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let (path, plain) = (scratch.path().join("x"), scratch.path().join("plain"));
    Export::new().raw(&array, &path).unwrap();
    fs::write(&plain, "").unwrap();
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode(),
        fs::metadata(plain).unwrap().permissions().mode()
    );
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

/// An export with the option to replace put a file in the place of a link: of `current.npy`, which
/// other programs read by the link, and as root of /dev/stdout.
#[test]
fn an_export_writes_through_links() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let array = root.manager().ones::<u8, _>(3).unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("data")).unwrap();
    // Relative, over another link, and to a file that does not exist yet.
    symlink("data/target", at("second")).unwrap();
    symlink(at("second"), at("first")).unwrap();
    Export::new().raw(&array, at("first")).unwrap();
    assert_eq!(fs::read(at("data/target")).unwrap(), [1; 3]);
    let error = Export::new().raw(&array, at("first")).unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyExists { path, .. } if path.ends_with("data/target")),
        "{error}"
    );
    let twos = root.manager().from_elem::<u8, _>(2, 2).unwrap();
    Export::new().replace().raw(&twos, at("first")).unwrap();
    assert_eq!(fs::read(at("data/target")).unwrap(), [2; 2]);
    for link in ["first", "second"] {
        assert!(at(link).symlink_metadata().unwrap().is_symlink());
    }
    symlink("loop", at("loop")).unwrap();
    let error = Export::new().replace().raw(&twos, at("loop")).unwrap_err();
    assert!(error.to_string().contains("too many links"), "{error}");
    symlink("data", at("directory")).unwrap();
    let error = Export::new()
        .replace()
        .raw(&twos, at("directory"))
        .unwrap_err();
    assert!(error.to_string().contains("it is a directory"), "{error}");
}

/// The kernel follows no link that another user put into /tmp (`fs.protected_symlinks`). An export
/// that resolves links itself must not either.
#[test]
fn a_link_of_another_user_in_a_shared_directory_is_not_followed() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    if !rustix::process::geteuid().is_root() {
        common::skip("a_link_of_another_user", "only root can give a link away");
        return;
    }
    let array = root.manager().ones::<u8, _>(3).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let link = scratch.path().join("link");
    symlink("target", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    let error = Export::new().replace().raw(&array, &link).unwrap_err();
    assert!(error.to_string().contains("another user"), "{error}");
    assert!(!scratch.path().join("target").exists());
}

/// Streams were refused, or replaced by files.
#[test]
fn what_is_no_regular_file_gets_and_gives_the_bytes_as_they_come() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u16, _>(100_000, |i| i as u16)
        .unwrap();
    let (fifo, link) = (scratch.path().join("fifo"), scratch.path().join("link"));
    make_fifo(&fifo);
    symlink(&fifo, &link).unwrap();
    for path in [&fifo, &link] {
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| Export::new().npy(&array, path));
            let read = Import::new().npy(&manager, path).unwrap();
            writer.join().unwrap().unwrap();
            assert_eq!(
                read.read_bytes().unwrap(),
                array.into_any().unwrap().read_bytes().unwrap()
            );
        });
    }
    assert!(!fs::symlink_metadata(&fifo).unwrap().is_file());
    // More bytes than the array has, and fewer.
    for (bytes, words) in [
        (&b"12345"[..], "more bytes follow"),
        (&b"123"[..], "ends too early"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(&fifo, bytes).unwrap());
            let u8s = "|u1".parse().unwrap();
            let error = Import::new().raw(&manager, &fifo, &u8s, &[4]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        });
    }
    Export::new().npy(&array, "/dev/null").unwrap();
    assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
    for path in [scratch.path(), Path::new("/dev/zero")] {
        assert!(matches!(
            Import::new().npy(&manager, path),
            Err(Error::Transfer { .. })
        ));
    }
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    assert!(matches!(
        Import::new().npy(&manager, scratch.path().join("none")),
        Err(Error::Io { .. })
    ));
}

#[test]
#[ignore = "started by others"]
fn child_that_hangs_in_a_transfer() {
    let arguments = common::arguments();
    let manager = Manager::builder().path(&arguments[0]).open().unwrap();
    let hangs = |done, _| {
        if done > 8 << 20 {
            println!("hanging");
            std::thread::sleep(Duration::from_secs(600));
        }
    };
    match arguments[1].as_str() {
        "export" => Export::new()
            .progress(&hangs)
            .npy(&manager.array_any("big").unwrap(), &arguments[2])
            .unwrap(),
        _ => drop(
            Import::new()
                .name("copy")
                .progress(&hangs)
                .npy(&manager, &arguments[2])
                .unwrap(),
        ),
    }
}

/// Kills a process in the middle of a transfer.
fn killed_amid(verb: &str, manager: &Manager, file: &Path) {
    use std::io::BufRead;
    let arguments = [
        manager.path().to_str().unwrap(),
        verb,
        file.to_str().unwrap(),
    ];
    let mut child = common::child_command(child_that_hangs_in_a_transfer, &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("hanging")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_during_an_export_leaves_no_file_and_during_an_import_a_file_for_the_sweep() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let big = manager
        .options()
        .name("big")
        .from_shape_fn::<u8, _>(32 << 20, |i| i as u8)
        .unwrap();
    killed_amid("export", &manager, &scratch.path().join("x.npy"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    let path = scratch.path().join("big.npy");
    Export::new().npy(&big, &path).unwrap();
    killed_amid("import", &manager, &path);
    let names = || {
        fs::read_dir(manager.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(!manager.contains("copy").unwrap());
    assert_eq!(
        (manager.list().unwrap().len(), names().len()),
        (1, 3),
        "{:?}",
        names()
    );
    manager.sweep().unwrap();
    assert_eq!(names().len(), 2, "{:?}", names());
}
