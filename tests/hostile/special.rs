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

pub(crate) fn try_all(bench: &mut Bench) {
    bench.clear();
    fs::create_dir(&bench.path).unwrap();
    refuse(bench, "a directory", NO_FILE, |metadata| metadata.is_dir());

    mknodat(CWD, &bench.path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    refuse(bench, "a FIFO", NO_FILE, |metadata| {
        metadata.file_type().is_fifo()
    });

    drop(UnixListener::bind(&bench.path).unwrap());
    refuse(bench, "a socket", NO_FILE, |metadata| {
        metadata.file_type().is_socket()
    });

    // The device of /dev/zero, which reads as a file of zeros without end.
    match mknodat(
        CWD,
        &bench.path,
        FileType::CharacterDevice,
        Mode::RUSR | Mode::WUSR,
        makedev(1, 5),
    ) {
        Ok(()) => refuse(bench, "a device", NO_FILE, |metadata| {
            metadata.file_type().is_char_device()
        }),
        Err(errno) => common::skip("a device as an array file", &format!("mknod: {errno}")),
    }

    let target = bench.root.path().join("target.ndshm");
    let (nothing, itself) = (bench.root.path().join("none"), bench.path.clone());
    for (what, to) in [
        ("a link to a valid file", &target),
        ("a link to nothing", &nothing),
        ("a link to itself", &itself),
    ] {
        fs::write(&target, &bench.good).unwrap();
        symlink(to, &bench.path).unwrap();
        refuse(bench, what, "it is a symbolic link", |metadata| {
            metadata.is_symlink()
        });
        assert!(fs::read(&target).unwrap() == bench.good, "{what}");
    }
    fs::remove_file(&target).unwrap();

    owners_and_modes(bench);
    a_link_to_the_store(bench);
}

/// A row: the entry in the place of `x`, which is removed afterwards.
#[track_caller]
fn refuse(bench: &mut Bench, what: &str, piece: &str, is_still: impl Fn(fs::Metadata) -> bool) {
    bench.refuse_openings(what, "Untrusted", piece, Seen::Always);
    assert!(
        is_still(fs::symlink_metadata(&bench.path).unwrap()),
        "{what}"
    );
    bench.close_row(what);
    bench.clear();
}

fn owners_and_modes(bench: &mut Bench) {
    let good = bench.good.clone();
    for mode in [0o666, 0o602, 0o620, 0o777] {
        bench.put(&good);
        fs::set_permissions(&bench.path, Permissions::from_mode(mode)).unwrap();
        bench.refuse_openings(
            "others may write",
            "Untrusted",
            &format!("its mode is {mode:03o}, others may write it: chmod 600"),
            Seen::Always,
        );
        assert!(fs::read(&bench.path).unwrap() == good, "{mode:o}");
        bench.close_row("others may write");
    }
    bench.put(&good);
    match rustix::process::geteuid().is_root() {
        true => {
            chown(&bench.path, Some(12345), None).unwrap();
            bench.refuse_openings(
                "another user's",
                "Untrusted",
                "it belongs to user 12345",
                Seen::Always,
            );
            assert!(fs::read(&bench.path).unwrap() == good);
            bench.close_row("another user's");
        }
        false => common::skip("a file of another user", "only root can give a file away"),
    }
    bench.put(&good);
    fs::set_permissions(&bench.path, Permissions::from_mode(0o444)).unwrap();
    for result in [
        bench.manager.array::<f64, Ix2>("x"),
        SharedArray2::open_path(&bench.path),
        bench.handle.open(),
    ] {
        expect(
            "0444 for writing",
            "ReadOnly",
            "cannot be written: its file may",
            result,
        );
    }
    // Root may open a file that is not writable; another user may not count itself in.
    match read_only(&bench.handle).open::<f64, Ix2>() {
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
    fs::set_permissions(&bench.path, Permissions::from_mode(0o600)).unwrap();
    // But for the lock table: a slot that was used keeps its range.
    assert!(fs::read(&bench.path).unwrap()[2176..] == good[2176..]);
    bench.close_row("a file that no user may write");
}

/// A store that is reached over a link, or that others may enter.
fn a_link_to_the_store(bench: &mut Bench) {
    drop(bench.restore());
    let store = bench.manager.path().to_path_buf();
    let link = bench.root.path().join("link");
    symlink(&store, &link).unwrap();
    let text = bench
        .handle
        .to_string()
        .replace(store.to_str().unwrap(), link.to_str().unwrap());
    expect(
        "a link to a store",
        "Untrusted",
        "it is not a directory",
        text.parse::<Handle>().unwrap().open::<f64, Ix2>(),
    );
    bench.close_row("a link to a store");
    fs::remove_file(&link).unwrap();

    let copy = bench.root.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for (mode, entry) in [(0o755, ".lock"), (0o711, ".lock"), (0o700, "none")] {
        fs::copy(store.join(".lock"), copy.join(entry)).unwrap();
        fs::copy(&bench.path, copy.join("x.ndshm")).unwrap();
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
        assert!(fs::read(copy.join("x.ndshm")).unwrap() == fs::read(&bench.path).unwrap());
        bench.close_row("a directory that is no store");
        fs::remove_file(copy.join(entry)).unwrap();
    }
    fs::remove_dir_all(&copy).unwrap();
}
