//! Everything but a regular file of this user: directories, FIFOs, devices, links, other owners and
//! modes.

use super::*;
use ndarray::Ix2;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use std::os::unix::{
    fs::{FileTypeExt, chown, symlink},
    net::UnixListener,
};

const NO_FILE: &str = "it is not a regular file";

pub(crate) fn try_all(fixture: &mut Fixture) {
    fixture.clear();
    fs::create_dir(&fixture.path).unwrap();
    refuse(fixture, "a directory", NO_FILE, |metadata| {
        metadata.is_dir()
    });

    mknodat(
        CWD,
        &fixture.path,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    refuse(fixture, "a FIFO", NO_FILE, |metadata| {
        metadata.file_type().is_fifo()
    });

    drop(UnixListener::bind(&fixture.path).unwrap());
    refuse(fixture, "a socket", NO_FILE, |metadata| {
        metadata.file_type().is_socket()
    });

    // The device of /dev/zero, which reads as a file of zeros without end.
    match mknodat(
        CWD,
        &fixture.path,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        makedev(1, 5),
    ) {
        Ok(()) => refuse(fixture, "a device", NO_FILE, |metadata| {
            metadata.file_type().is_char_device()
        }),
        Err(errno) => common::skip("a device as an array file", &format!("mknod: {errno}")),
    }

    let target = fixture.root.path().join("target.ndshm");
    let (nothing, itself) = (fixture.root.path().join("none"), fixture.path.clone());
    for (what, to) in [
        ("a link to a valid file", &target),
        ("a link to nothing", &nothing),
        ("a link to itself", &itself),
    ] {
        fs::write(&target, &fixture.good).unwrap();
        symlink(to, &fixture.path).unwrap();
        refuse(fixture, what, "it is a symbolic link", |metadata| {
            metadata.is_symlink()
        });
        assert!(fs::read(&target).unwrap() == fixture.good, "{what}");
    }
    fs::remove_file(&target).unwrap();

    owners_and_modes(fixture);
    a_link_to_the_store(fixture);
}

/// A row: the entry in the place of `x`, which is removed afterwards.
#[track_caller]
fn refuse(fixture: &mut Fixture, what: &str, piece: &str, is_still: impl Fn(fs::Metadata) -> bool) {
    fixture.refuse_openings(what, "Untrusted", piece, Seen::Always);
    assert!(
        is_still(fs::symlink_metadata(&fixture.path).unwrap()),
        "{what}"
    );
    fixture.close_row(what);
    fixture.clear();
}

fn owners_and_modes(fixture: &mut Fixture) {
    let good = fixture.good.clone();
    for mode in [0o666, 0o602, 0o620, 0o777] {
        fixture.put(&good);
        fs::set_permissions(&fixture.path, Permissions::from_mode(mode)).unwrap();
        fixture.refuse_openings(
            "others may write",
            "Untrusted",
            &format!("its mode is {mode:03o}, others may write it: chmod 600"),
            Seen::Always,
        );
        assert!(fs::read(&fixture.path).unwrap() == good, "{mode:o}");
        fixture.close_row("others may write");
    }
    fixture.put(&good);
    match rustix::process::geteuid().is_root() {
        true => {
            chown(&fixture.path, Some(12345), None).unwrap();
            fixture.refuse_openings(
                "another user's",
                "Untrusted",
                "it belongs to user 12345",
                Seen::Always,
            );
            assert!(fs::read(&fixture.path).unwrap() == good);
            fixture.close_row("another user's");
        }
        false => common::skip("a file of another user", "only root can give a file away"),
    }
    fixture.put(&good);
    fs::set_permissions(&fixture.path, Permissions::from_mode(0o444)).unwrap();
    for result in [
        fixture.manager.array::<f64, Ix2>("x"),
        SharedArray2::open_path(&fixture.path),
        fixture.handle.open(),
    ] {
        expect(
            "0444 for writing",
            "ReadOnly",
            "cannot be written: its file may",
            result,
        );
    }
    // Root may open a file that is not writable; another user may not count itself in.
    match read_only(&fixture.handle).open::<f64, Ix2>() {
        Ok(xs) => {
            assert_eq!(xs.read().unwrap().sum(), 15.0);
            expect(
                "0444, opened for reading",
                "ReadOnly",
                "cannot be written",
                xs.write(),
            );
        }
        other => expect("0444 for reading", "ReadOnly", "chmod u+rw", other),
    }
    fs::set_permissions(&fixture.path, Permissions::from_mode(0o600)).unwrap();
    // But for the lock table: a slot that was used keeps its range.
    assert!(fs::read(&fixture.path).unwrap()[2176..] == good[2176..]);
    fixture.close_row("a file that no user may write");
}

/// A store that is reached over a link, or that others may enter.
fn a_link_to_the_store(fixture: &mut Fixture) {
    drop(fixture.restore());
    let store = fixture.manager.path().to_path_buf();
    let link = fixture.root.path().join("link");
    symlink(&store, &link).unwrap();
    let text = fixture
        .handle
        .to_string()
        .replace(store.to_str().unwrap(), link.to_str().unwrap());
    expect(
        "a link to a store",
        "Untrusted",
        "it is not a directory",
        text.parse::<Handle>().unwrap().open::<f64, Ix2>(),
    );
    fixture.close_row("a link to a store");
    fs::remove_file(&link).unwrap();

    let copy = fixture.root.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for (mode, entry) in [(0o755, ".lock"), (0o711, ".lock"), (0o700, "none")] {
        fs::copy(store.join(".lock"), copy.join(entry)).unwrap();
        fs::copy(&fixture.path, copy.join("x.ndshm")).unwrap();
        fs::set_permissions(&copy, Permissions::from_mode(mode)).unwrap();
        let piece = if mode == 0o700 {
            "no .lock"
        } else {
            "others may enter it: chmod 700"
        };
        expect(
            "a directory that is no store",
            "Untrusted",
            piece,
            SharedArray2::<f64>::open_path(copy.join("x.ndshm")),
        );
        assert!(fs::read(copy.join("x.ndshm")).unwrap() == fs::read(&fixture.path).unwrap());
        fixture.close_row("a directory that is no store");
        fs::remove_file(copy.join(entry)).unwrap();
    }
    fs::remove_dir_all(&copy).unwrap();
}
