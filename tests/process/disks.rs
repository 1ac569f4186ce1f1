//! Stores on disks and overlays: which are trusted, and that reserved space holds there.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Root};
use ndarray::{Ix1, s};
use ndshm::{Error, Manager, SharedArray1, verify};
use rustix::fs::FallocateFlags;
use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The exit code of a script that lacks something.
const LACKS: i32 = 77;

/// Runs a child's test after a script that mounts things below `$1`, a directory of a test, in a
/// namespace of its own. `lacks` says without which tool or right it exits with 77.
#[track_caller]
fn run_mounted(test: &str, child: impl Fn(), script: &str, lacks: &str) {
    let root = Root::new();
    let child = common::child_command(child, &[root.path()]);
    let namespace = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Urm"
    };
    let script = format!("set -e; cd \"$1\"; shift; {script}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args([namespace, "sh", "-c", &script, "sh"])
        .arg(root.path())
        .arg(child.get_program())
        .args(child.get_args())
        .envs(
            child
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return common::skip(test, "unshare is not installed here");
    };
    if child.wait().unwrap().code() == Some(LACKS) {
        return common::skip(test, lacks);
    }
    common::finish(child);
}

/// A script that mounts a new file system of 40 MiB and more at `disk`.
fn disk(make: &str, size: &str) -> String {
    let tool = make.split(' ').next().unwrap();
    format!(
        "command -v {tool} >/dev/null || exit {LACKS}; truncate -s {size} image; \
         {make} image >/dev/null; mkdir disk; \
         mount -o loop image disk 2>/dev/null || exit {LACKS}; chmod 700 disk"
    )
}

/// A script that mounts an overlay at `overlay`, with its upper layer in `$UPPER`.
const OVERLAY: &str = "mkdir -m 700 $UPPER/upper $UPPER/work lower overlay; \
     mount -t overlay -o lowerdir=lower,upperdir=$UPPER/upper,workdir=$UPPER/work overlay overlay \
     2>/dev/null || exit 77; chmod 700 overlay";

fn child_root() -> PathBuf {
    common::arguments().remove(0).into()
}

/// Takes all space of the file system of a directory, except the last few blocks that only its own
/// bookkeeping can use.
fn fill(directory: &Path) -> Filler {
    let path = directory.join("filler");
    for len in [1 << 20, 4096, 1024] {
        let bytes = vec![1; len];
        let mut filler = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        while filler.write_all(&bytes).is_ok() && filler.sync_all().is_ok() {}
    }
    Filler(path)
}

/// A file that takes all space until it is dropped.
struct Filler(PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        // XFS frees the blocks of a file without a name later.
        File::create(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
    }
}

// An overlay has its files where its upper layer is. Any overlay was trusted, also one over btrfs,
// where a write into reserved space of a full disk is SIGBUS.
#[test]
fn an_overlay_is_trusted_as_far_as_its_upper_layer() {
    let test = "an_overlay_is_trusted_as_far_as_its_upper_layer";
    let lacks = "no overlay can be mounted here";
    let on = |upper: &str| format!("mkdir under; {upper}; chmod 700 under; UPPER=under; {OVERLAY}");
    let tmpfs = on("mount -t tmpfs -o size=20m tmpfs under");
    run_mounted(test, child_trusts_an_overlay, &tmpfs, lacks);
    // A ramfs has no limit, and no call reserves space on it.
    let ramfs = on("mount -t ramfs ramfs under || exit 77");
    run_mounted(test, child_refuses_an_overlay, &ramfs, lacks);
    // Another mount hides the upper layer.
    let hidden = format!("{tmpfs}; mount -t tmpfs -o size=21m tmpfs under");
    run_mounted(test, child_refuses_an_overlay, &hidden, lacks);
}

#[test]
fn an_overlay_over_btrfs_is_refused() {
    let script = format!("{}; UPPER=disk; {OVERLAY}", disk("mkfs.btrfs", "120m"));
    run_mounted(
        "an_overlay_over_btrfs_is_refused",
        child_refuses_an_overlay,
        &script,
        "btrfs and overlays cannot be mounted here",
    );
}

#[test]
fn an_overlay_over_ext4_is_trusted() {
    let script = format!("{}; UPPER=disk; {OVERLAY}", disk("mkfs.ext4 -q", "20m"));
    run_mounted(
        "an_overlay_over_ext4_is_trusted",
        child_trusts_an_overlay,
        &script,
        "ext4 and overlays cannot be mounted here",
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_trusts_an_overlay() {
    let overlay = child_root().join("overlay");
    let manager = Manager::create(overlay.join("run")).unwrap();
    let xs = manager.ones::<f64, _>(100_000).unwrap();
    let filler = fill(&overlay);
    xs.write().unwrap().fill(2.0);
    assert_eq!(xs.read().unwrap().sum(), 200_000.0);
    drop(filler);
    manager.close().unwrap();
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_refuses_an_overlay() {
    let overlay = child_root().join("overlay");
    for error in [
        Manager::create(overlay.join("run")).unwrap_err(),
        Manager::builder().root(&overlay).create().unwrap_err(),
    ] {
        assert!(matches!(error, Error::Untrusted { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("upper layer") && text.contains("any_file_system"),
            "{text}"
        );
    }
    common::done();
}

// A page of 4 KiB has four blocks of 1 KiB. A recycled file that grew within its last page had no
// block there: on a full disk the write was SIGBUS.
#[test]
fn a_recycled_file_that_grows_within_its_last_page_is_reserved() {
    run_mounted(
        "a_recycled_file_that_grows_within_its_last_page_is_reserved",
        child_lets_a_recycled_file_grow,
        &disk("mkfs.ext4 -q -b 1024", "20m"),
        "ext4 cannot be mounted here",
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_lets_a_recycled_file_grow() {
    let disk = child_root().join("disk");
    let manager = Manager::builder()
        .path(disk.join("run"))
        .recycle(1 << 20)
        .create()
        .unwrap();
    let metadata = |array: &SharedArray1<u8>| fs::metadata(array.path()).unwrap();
    let small = manager.ones::<u8, _>(100).unwrap();
    let inode = metadata(&small).ino();
    drop(small);
    let grown = manager.empty::<u8, _>(4000).unwrap();
    assert_eq!(metadata(&grown).ino(), inode, "the file is recycled");
    assert!(
        metadata(&grown).blocks() * 512 >= 8096,
        "the file has a hole at its end"
    );
    drop(grown);

    // The kept file needs blocks that the disk does not have. It gives its own back then, which may
    // be enough for a new one with a block of the disk's last ones.
    drop(manager.ones::<u8, _>(100).unwrap());
    let filler = fill(&disk);
    match manager.ones::<u8, _>(4000) {
        Err(error) => assert!(matches!(error, Error::NoSpace { .. }), "{error}"),
        Ok(array) => array.write().unwrap().fill(2),
    }
    drop(filler);
    let last = manager.ones::<u8, _>(4000).unwrap();
    assert_eq!(last.read().unwrap()[3999], 1);
    manager.close().unwrap();
    common::done();
}

// A store that was copied with holes opened without complaint; writing into a hole of a full disk,
// or only reading one of a full tmpfs, was SIGBUS.
#[test]
fn a_copied_store_has_its_space_reserved_when_it_is_opened() {
    let test = "a_copied_store_has_its_space_reserved_when_it_is_opened";
    let child = child_opens_a_copy_with_holes;
    let tmpfs = "mkdir disk; mount -t tmpfs -o size=20m,mode=700 tmpfs disk 2>/dev/null || exit 77";
    run_mounted(test, child, tmpfs, "no tmpfs can be mounted here");
    for blocks in ["1024", "4096"] {
        let disk = disk(&format!("mkfs.ext4 -q -b {blocks}"), "20m");
        run_mounted(test, child, &disk, "ext4 cannot be mounted here");
    }
    let overlay = format!(
        "mkdir disk under; mount -t tmpfs -o size=20m tmpfs under 2>/dev/null || exit 77; \
         UPPER=under; {OVERLAY}; mount -B overlay disk"
    );
    run_mounted(test, child, &overlay, "no overlay can be mounted here");
}

/// Copies a store, deletes the original, and returns the copy's path.
fn copied(manager: Manager, option: &str) -> PathBuf {
    let copy = manager.path().with_file_name("copy");
    let status = Command::new("cp")
        .args(["-r", "--preserve=mode", option])
        .args([manager.path(), copy.as_path()])
        .status();
    assert!(status.unwrap().success());
    manager.close().unwrap();
    copy
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_a_copy_with_holes() {
    const LEN: usize = 1 << 20;
    let disk = child_root().join("disk");
    let manager = Manager::create(disk.join("run")).unwrap();
    let xs = manager.options().name("xs").zeros::<u8, _>(LEN).unwrap();
    xs.write().unwrap().slice_mut(s![4096..5000]).fill(1);
    xs.flush().unwrap();
    drop(xs);
    let path = copied(manager, "--sparse=always");
    let file = path.join("xs.ndshm");
    let blocks = || fs::metadata(&file).unwrap().blocks() * 512;
    let len = fs::metadata(&file).unwrap().len();
    assert!(blocks() < 100_000, "cp made no holes: {}", blocks());
    assert!(!verify(&path).unwrap().is_sound());
    let is_in_memory = {
        let found = rustix::fs::statfs(&disk).unwrap().f_type;
        found == 0x0102_1994 || found == 0x794c_7630
    };

    let filler = fill(&disk);
    let refused = |error: Error| {
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(error.to_string().contains("cp --sparse=never"), "{error}");
    };
    match Manager::open(&path) {
        Ok(manager) => {
            refused(manager.array::<u8, Ix1>("xs").unwrap_err());
            // A disk needs no block for a hole that is only read.
            let handle = manager.list().unwrap()[0].handle().read_only();
            match handle.open::<u8, Ix1>() {
                Ok(xs) => assert_eq!((xs.read().unwrap()[4096], is_in_memory), (1, false)),
                Err(error) => refused(error),
            }
        }
        // Blocks of 1 KiB: the lock file has holes too.
        Err(error) => refused(error),
    }
    assert!(
        blocks() < 100_000,
        "what could be had was taken: {}",
        blocks()
    );
    drop(filler);

    let manager = Manager::open(&path).unwrap();
    let xs = manager.array::<u8, Ix1>("xs").unwrap();
    assert!(blocks() >= len, "{} of {len} bytes have space", blocks());
    let _filler = fill(&disk);
    assert_eq!(
        xs.read()
            .unwrap()
            .iter()
            .map(|&x| u64::from(x))
            .sum::<u64>(),
        904
    );
    xs.write().unwrap().fill(3);
    drop(xs);
    assert_eq!(verify(&path).unwrap().findings, []);
    manager.close().unwrap();
    common::done();
}

// Its holes could not be reserved, so nothing could be opened.
#[test]
fn a_copied_store_with_holes_is_read_where_its_disk_is_mounted_read_only() {
    for (tool, size) in [("mkfs.ext4 -q", "20m"), ("mkfs.xfs -q", "320m")] {
        run_mounted(
            "a_copied_store_with_holes_is_read_where_its_disk_is_mounted_read_only",
            child_reads_a_copy_with_holes,
            &disk(tool, size),
            "this file system cannot be made or mounted here",
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_a_copy_with_holes() {
    let disk = child_root().join("disk");
    let manager = Manager::create(disk.join("run")).unwrap();
    let xs = manager.options().name("xs").zeros::<f64, _>(1 << 16);
    let xs = xs.unwrap();
    xs.write().unwrap().slice_mut(s![..1024]).fill(1.0);
    xs.freeze().unwrap();
    xs.flush().unwrap();
    drop(xs);
    let path = copied(manager, "--sparse=always");
    let file = fs::metadata(path.join("xs.ndshm")).unwrap();
    assert!(file.blocks() * 512 < file.len(), "it has holes");
    let status = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk)
        .status();
    assert!(status.unwrap().success());
    let reader = Manager::open(&path).unwrap();
    let xs = reader.array::<f64, Ix1>("xs").unwrap();
    assert_eq!(xs.read().unwrap().sum(), 1024.0);
    common::done();
}

// A hole is hidden by the blocks that an ext4 needs to find the others.
#[test]
fn a_hole_that_the_count_of_blocks_hides_is_reserved_too() {
    run_mounted(
        "a_hole_that_the_count_of_blocks_hides_is_reserved_too",
        child_opens_a_file_with_a_hidden_hole,
        &disk("mkfs.ext4 -q -b 4096", "20m"),
        "ext4 cannot be mounted here",
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_a_file_with_a_hidden_hole() {
    const PAGES: usize = 320;
    let disk = child_root().join("disk");
    let manager = Manager::create(disk.join("run")).unwrap();
    let xs = manager
        .options()
        .name("xs")
        .zeros::<u8, _>(PAGES * 4096)
        .unwrap();
    let path = xs.path().to_path_buf();
    drop(xs);
    // Written pages far between reserved ones are extents of their own, more than an inode lists.
    let file = File::options().write(true).open(&path).unwrap();
    for page in (1..=PAGES as u64).step_by(32) {
        file.write_all_at(&[1; 4096], page * 4096).unwrap();
    }
    file.sync_all().unwrap();
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, flags, 20 * 4096, 4096).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!(
        metadata.blocks() * 512,
        metadata.len(),
        "the hole is not hidden"
    );

    let xs = manager.array::<u8, Ix1>("xs").unwrap();
    let _filler = fill(&disk);
    xs.write().unwrap().fill(2);
    assert_eq!(xs.read().unwrap()[19 * 4096], 2);
    common::done();
}

// `cp` shares the blocks of an XFS with the original: a write needs a new block, though st_blocks
// counts the shared one.
#[test]
fn a_copy_that_shares_blocks_gets_its_own() {
    run_mounted(
        "a_copy_that_shares_blocks_gets_its_own",
        child_opens_a_copy_that_shares_blocks,
        &disk("mkfs.xfs -q -m reflink=1", "320m"),
        "XFS cannot be mounted here",
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_a_copy_that_shares_blocks() {
    const LEN: usize = 8 << 20;
    let disk = child_root().join("disk");
    let manager = Manager::create(disk.join("run")).unwrap();
    let xs = manager.options().name("xs").ones::<u8, _>(LEN).unwrap();
    xs.flush().unwrap();
    let copy = disk.join("copy");
    let status = Command::new("cp")
        .args(["-r", "--preserve=mode", "--reflink=always"])
        .args([manager.path(), copy.as_path()])
        .status();
    assert!(status.unwrap().success());
    let filler = fill(&disk);
    let error = match Manager::open(&copy) {
        Ok(copied) => copied.array::<u8, Ix1>("xs").unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("--reflink=never"), "{error}");
    drop(filler);
    let copied = Manager::open(&copy).unwrap();
    let ys = copied.array::<u8, Ix1>("xs").unwrap();
    let _filler = fill(&disk);
    ys.write().unwrap().fill(2);
    assert_eq!(xs.read().unwrap()[LEN - 1], 1);
    common::done();
}
