//! No space left: on the file system, in the process's limits, in its address space.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "one test maps memory of its own to use up the mappings"
)]

use crate::common::{self, Root};
use ndarray::{Axis, Ix1, s};
use ndshm::{Element, Error, Export, Manager, Observer, SharedArray1};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

#[test]
fn a_full_tmpfs_is_an_error_with_figures_and_nothing_is_left_behind() {
    let root = Root::new();
    common::run_on_tmpfs(
        "a_full_tmpfs_is_an_error_with_figures_and_nothing_is_left_behind",
        child_fills_a_tmpfs,
        "1m",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_fills_a_tmpfs() {
    const LEN: usize = 16 * 1024;
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(&root).create().unwrap();
    let mut arrays = Vec::<SharedArray1<f64>>::new();
    let (needed, available) = loop {
        match manager.zeros(LEN) {
            Ok(array) => arrays.push(array),
            Err(Error::NoSpace {
                needed, available, ..
            }) => break (needed, available),
            Err(error) => panic!("{error}"),
        }
        assert!(arrays.len() < 100, "the tmpfs is never full");
    };
    // 1 MiB holds seven arrays of 128 KiB and a page of header each, with the lock file; or five
    // with pages of 64 KiB.
    let page = common::page();
    let fits = ((1 << 20) - page) / (8 * LEN + page);
    assert_eq!((arrays.len(), needed), (fits, (8 * LEN + page) as u64));
    assert!(available < needed && available > 0, "{available}");
    let files = || common::files_below(Path::new(&root));
    assert_eq!(
        files().len(),
        1 + 1 + arrays.len(),
        "the store, its lock file, the arrays: {:?}",
        files()
    );
    assert_eq!(manager.list().unwrap().len(), arrays.len());

    // Space was reserved: every page can be written, without a signal.
    for array in &arrays {
        array.write().unwrap().fill(1.5);
    }
    assert!(
        arrays
            .iter()
            .all(|array| array.read().unwrap().iter().all(|&x| x == 1.5))
    );

    let too_large = manager.zeros::<u8, _>(1 << 30).unwrap_err();
    assert!(
        matches!(too_large, Error::NoSpace { needed, .. } if needed == (1 << 30) + page as u64),
        "{too_large}"
    );
    assert!(
        too_large
            .to_string()
            .contains(&format!("{} bytes", (1 << 30) + page)),
        "{too_large}"
    );

    arrays.pop();
    manager.zeros::<f64, _>(LEN).unwrap();
    let filler = manager
        .zeros::<u8, _>(usize::try_from(available).unwrap() - page)
        .unwrap();
    let _last = manager.zeros::<f64, _>(LEN).unwrap();
    assert!(matches!(
        Manager::builder().root(&root).create(),
        Err(Error::NoSpace { .. })
    ));
    assert!(
        !files()
            .iter()
            .any(|path| path.to_str().unwrap().contains("-new-"))
    );
    drop(filler);
    common::done();
}

// A request for more than there is once filled the file system page by page before it failed, and
// then said that nothing was left.
#[test]
fn a_request_that_cannot_fit_takes_no_page() {
    let root = Root::new();
    common::run_on_tmpfs(
        "a_request_that_cannot_fit_takes_no_page",
        child_asks_for_too_much,
        "64m,nr_inodes=6",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_asks_for_too_much() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let kept = manager.ones::<u8, _>(10 << 20).unwrap();
    // No file can be made any more: an answer that tells of bytes was given before one was.
    let mut fillers = Vec::new();
    while let Ok(filler) = manager.zeros::<u8, _>(1) {
        fillers.push(filler);
    }
    let before = rustix::fs::statvfs(manager.path()).unwrap();
    let left = before.f_bfree * before.f_frsize;
    for len in [60 << 20, 10_usize.pow(13)] {
        for error in [
            manager.zeros::<u8, _>(len).unwrap_err(),
            manager.empty::<u16, _>(len / 2).unwrap_err(),
            manager.from_shape_fn::<u8, _>(len, |_| 1).unwrap_err(),
            manager.zeros_any(&u8::DTYPE, &[len]).unwrap_err(),
            manager
                .options()
                .name("large")
                .ones::<u8, _>(len)
                .unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::NoSpace { needed, available, .. }
                    if needed == (len + common::page()) as u64 && available == left),
                "{error}"
            );
        }
    }
    assert_eq!(manager.usage().unwrap().available, left);
    assert_eq!(kept.read().unwrap().len(), 10 << 20);
    common::done();
}

// Pages of a tmpfs count for the control group: one that has too little memory was left to the OOM
// killer.
#[test]
fn a_control_group_that_has_too_little_memory_is_no_space() {
    let Some(group) = Group::with_memory(64 << 20) else {
        let test = "a_control_group_that_has_too_little_memory_is_no_space";
        return common::skip(test, "no control group can be made here");
    };
    let root = Root::new();
    let child = common::child_command(child_is_in_a_control_group, &[root.path()]);
    let enter = "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", enter, "sh"]).arg(&group.0);
    command.arg(child.get_program()).args(child.get_args());
    command.envs(
        child
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    common::finish(child.spawn().unwrap());
}

/// A control group of this test's own, removed when it is dropped.
struct Group(PathBuf);

impl Group {
    /// Of whichever version limits memory here; none where none can be made.
    fn with_memory(bytes: u64) -> Option<Self> {
        let name = format!("ndshm-test-{}", std::process::id());
        let versions = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
        versions.into_iter().find_map(|(root, limit)| {
            let path = Path::new("/sys/fs/cgroup").join(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            let group = Group(path);
            let limit = group.0.join(limit);
            limit.exists().then_some(())?;
            std::fs::write(limit, bytes.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_is_in_a_control_group() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let error = manager.zeros::<u8, _>(256 << 20).unwrap_err();
    assert!(
        matches!(error, Error::NoSpace { available, limited_by, .. }
            if available < 64 << 20 && limited_by.contains("control group")),
        "{error}"
    );
    assert!(manager.usage().unwrap().available < 64 << 20);
    assert_eq!(manager.ones::<u8, _>(8 << 20).unwrap().len(), 8 << 20);
    common::done();
}

/// Huge pages are made for a large export, a part at a time: where there is no room for all of it,
/// the export fails as any write does.
#[test]
fn an_export_into_a_full_tmpfs_fails_and_leaves_nothing() {
    let mount = Root::new();
    for size in ["9m", "12m", "17m"] {
        common::run_on_tmpfs(
            "an_export_into_a_full_tmpfs_fails_and_leaves_nothing",
            child_exports_into_a_full_tmpfs,
            size,
            mount.path(),
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_exports_into_a_full_tmpfs() {
    let mount = PathBuf::from(common::arguments().remove(0));
    let root = Root::new();
    let manager = root.manager();
    let array = manager
        .from_shape_fn::<u8, _>((2, 9 << 20), |(i, j)| (i + j) as u8)
        .unwrap();
    let free = || rustix::fs::statfs(&mount).unwrap().f_bfree;
    let (before, path) = (free(), mount.join("x.npy"));
    for view in [array.view().unwrap(), array.t().unwrap()] {
        let error = Export::new().raw(&view, &path).unwrap_err();
        let is_full = matches!(&error, Error::Io { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull);
        assert!(is_full, "{error}");
        assert_eq!(std::fs::read_dir(&mount).unwrap().count(), 0);
        assert_eq!(free(), before);
    }
    // A part that fits is exported all the same.
    let row = array.index_axis(Axis(0), 1).unwrap();
    let part = row.slice(s![..8 << 20]).unwrap();
    Export::new().raw(&part, &path).unwrap();
    assert!(std::fs::read(&path).unwrap() == part.read().unwrap().to_vec());
    common::done();
}

#[test]
fn a_tmpfs_without_inodes_is_no_space_too() {
    let root = Root::new();
    common::run_on_tmpfs(
        "a_tmpfs_without_inodes_is_no_space_too",
        child_uses_up_the_inodes,
        "1m,nr_inodes=8",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_uses_up_the_inodes() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let mut arrays = Vec::<SharedArray1<u8>>::new();
    let error = loop {
        match manager.zeros(1) {
            Ok(array) => arrays.push(array),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::NoSpace { .. }) && arrays.len() < 8,
        "{error}"
    );
    common::done();
}

#[test]
fn a_limit_on_file_sizes_is_compared_before_it_becomes_a_signal() {
    let root = Root::new();
    common::run(child_has_a_limit_on_file_sizes, &[root.path()]);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "runs in a child"]
fn child_has_a_limit_on_file_sizes() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(
        Resource::Fsize,
        Rlimit {
            current: Some(1 << 20),
            maximum,
        },
    )
    .unwrap();
    let error = manager.zeros::<u8, _>(1 << 20).unwrap_err();
    assert!(matches!(
        error,
        Error::NoSpace { needed, available, limited_by, .. }
            if needed == (1 << 20) + common::page() as u64
                && available == 1 << 20
                && limited_by.contains("RLIMIT_FSIZE")
    ));
    assert!(manager.zeros::<u8, _>((1 << 20) - common::page()).is_ok());
    assert_eq!(manager.list().unwrap().len(), 0);
    common::done();
}

#[test]
fn ten_thousand_open_arrays_hold_no_descriptors() {
    let root = Root::new();
    common::run(child_has_ten_thousand_open_arrays, &[root.path()]);
    assert_eq!(root.contents(), Vec::<std::path::PathBuf>::new());
}

/// A process of its own: tests beside it would open descriptors too.
#[test]
#[ignore = "runs in a child"]
fn child_has_ten_thousand_open_arrays() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let first = manager.zeros::<u8, _>(1).unwrap();
    let before = descriptors();
    let arrays: Vec<_> = (0..10_000)
        .map(|_| manager.zeros::<u8, _>(1).unwrap())
        .collect();
    assert_eq!(descriptors(), before);
    let handles: Vec<_> = arrays.iter().map(|array| array.handle()).collect();
    let opened: Vec<_> = handles
        .iter()
        .map(|handle| handle.open::<u8, Ix1>().unwrap())
        .collect();
    assert_eq!(
        (descriptors(), opened.len(), first.len()),
        (before, 10_000, 1)
    );
    common::done();
}

#[test]
fn too_many_mappings_are_an_error_that_names_the_limit() {
    let root = Root::new();
    common::run(child_uses_up_its_mappings, &[root.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_uses_up_its_mappings() {
    let limit: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .create()
        .unwrap();
    let kept = manager.ones::<f64, _>(8).unwrap();
    // Pages of alternating protection are mappings of their own: one call each instead of one file
    // each.
    let used = std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count();
    let pages = limit - used - 20;
    let size = pages * common::page();
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED);
    for page in (1..pages).step_by(2) {
        let page = start.wrapping_byte_add(page * common::page());
        // SAFETY: a page of the mapping above, which nothing refers to.
        let changed = unsafe { libc::mprotect(page, common::page(), libc::PROT_READ) };
        assert_eq!(changed, 0);
    }
    let mut arrays = Vec::new();
    let error = loop {
        match manager.zeros::<u8, _>(1) {
            Ok(array) => arrays.push(array),
            Err(error) => break error,
        }
        assert!(arrays.len() < 1000, "the mappings are never used up");
    };
    assert!(
        matches!(error, Error::TooManyMappings { limit: found, .. } if found == limit as u64),
        "{error}"
    );
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    assert_eq!(
        manager.list().unwrap().len(),
        arrays.len() + 1,
        "the array that failed left something"
    );
    // A freeze that fails has frozen nothing: it once set the flag before it failed.
    let error = kept.freeze().unwrap_err();
    assert!(matches!(error, Error::TooManyMappings { .. }), "{error}");
    // SAFETY: the mapping above, which nothing refers to.
    assert_eq!(unsafe { libc::munmap(start, size) }, 0);
    let state = Observer::open(manager.path())
        .unwrap()
        .state(&kept.handle().info().unwrap());
    assert!(!state.unwrap().is_frozen);
    kept.write().unwrap()[0] = 1.0;
    assert_eq!(kept.freeze().unwrap()[0], 1.0);
    assert_eq!(manager.zeros::<u8, _>(1).unwrap().len(), 1);
    assert_eq!(kept.read().unwrap().sum(), 8.0);
    common::done();
}
