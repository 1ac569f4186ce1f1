//! Processes whose other code closes descriptors of the library, or gives their numbers to other
//! files: no living member is taken for dead, in either direction.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{Error, Handle, Manager, Observer, Scope, SharedArray1};
use rustix::process::{Signal, getpid, kill_process};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd},
    path::{Path, PathBuf},
    time::Duration,
};

/// Closes the descriptors from 3 on, as `os.closerange(3, 256)` does.
#[allow(unsafe_code, reason = "the code that is tested against")]
fn close_range() {
    for number in 3..256 {
        // SAFETY: none: this is what careless code does, and the library must survive it.
        unsafe { libc::close(number) };
    }
}

/// Opens a file until all numbers below 64 name it.
fn occupy(path: &Path) {
    while File::options().read(true).open(path).unwrap().into_raw_fd() < 64 {}
}

/// What takes the numbers of the descriptors that were closed.
const TAKERS: [&str; 5] = ["nothing", "a file", "a directory", "a lock file", "dup2"];

fn take_the_numbers(taker: &str, elsewhere: &Path) {
    let lock = elsewhere.join(".lock");
    match taker {
        "nothing" => close_range(),
        "a file" => {
            close_range();
            occupy(Path::new("/proc/self/status"));
        }
        "a directory" => {
            close_range();
            occupy(Path::new("/dev/shm"));
        }
        "a lock file" => {
            close_range();
            occupy(&lock);
        }
        _ => dup_over_all(&File::open(&lock).unwrap()),
    }
}

/// Puts a file at a number, by dup2.
#[allow(unsafe_code, reason = "the code that is tested against")]
fn dup_over(file: &File, number: i32) {
    // SAFETY: nothing that the test needs after this uses the number.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), number) }, number);
}

/// Puts a file at the number of each open descriptor, by dup2.
#[allow(unsafe_code, reason = "the code that is tested against")]
fn dup_over_all(file: &File) {
    for number in 3..64 {
        // SAFETY: none of the numbers is used for anything that the test needs after this.
        let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
        if is_open && number != file.as_raw_fd() {
            // SAFETY: as above.
            unsafe { libc::dup2(file.as_raw_fd(), number) };
        }
    }
}

fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Io { .. }) && error.to_string().contains("open the store again")
}

/// A process closed all descriptors, as daemons do, and the number of its lock file went to another
/// file. All living members looked dead to it: it poisoned, and took, what a live writer held.
#[test]
fn a_process_that_lost_its_descriptor_takes_no_living_member_for_dead() {
    let root = Root::new();
    let manager = root.manager();
    let beside = root.manager();
    let options = manager.options().name("xs");
    let xs = options.from_elem(100, 1.0).unwrap();
    for taker in TAKERS {
        let local = manager.options().name("mine").scope(Scope::Local);
        let local = local.from_elem(10, 1.0).unwrap();
        let mut guard = xs.write().unwrap();
        guard.fill(2.0);
        let arguments = [
            taker.to_owned(),
            xs.handle().to_string(),
            manager.path().display().to_string(),
            beside.path().display().to_string(),
        ];
        common::run(child_loses_its_descriptor_and_asks, &arguments);
        assert!(guard.iter().all(|&x| x == 2.0), "{taker}");
        guard.fill(1.0);
        drop(guard);
        assert!(!xs.is_poisoned().unwrap(), "{taker}");
        assert!(local.path().exists(), "{taker}");
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_loses_its_descriptor_and_asks() {
    let [taker, handle, store, beside] = &common::arguments()[..] else {
        panic!()
    };
    let manager = Manager::open(store).unwrap();
    let observer = Observer::open(store).unwrap();
    let xs: SharedArray1<f64> = handle.parse::<Handle>().unwrap().open().unwrap();
    let any = manager.array_any("xs").unwrap();
    let late = manager.zeros::<f64, _>(5).unwrap();
    take_the_numbers(taker, Path::new(beside));
    // Everything that would ask whether members live says that it cannot.
    for error in [
        xs.write_timeout(Duration::from_secs(60))
            .map(drop)
            .unwrap_err(),
        xs.try_write().map(drop).unwrap_err(),
        xs.read().map(drop).unwrap_err(),
        xs.recover().map(drop).unwrap_err(),
        any.write().map(drop).unwrap_err(),
        manager.sweep().map(drop).unwrap_err(),
        manager
            .options()
            .name("new")
            .zeros::<f64, _>(5)
            .map(drop)
            .unwrap_err(),
        manager.zeros::<f64, _>(5).map(drop).unwrap_err(),
        observer.members().map(drop).unwrap_err(),
    ] {
        assert!(is_lost(&error), "{taker}: {error}");
    }
    // Its own descriptors are not closed again: the numbers are those of other files.
    let mine = File::open("/proc/self/stat").unwrap();
    drop((late, observer, any));
    drop(manager);
    rustix::io::fcntl_getfd(&mine).unwrap();
    // Opened again, the store is asked as ever.
    let again = Manager::open(store).unwrap();
    let xs_again = again.array::<f64, Ix1>("xs").unwrap();
    assert!(matches!(
        xs_again.try_write(),
        Err(Error::WouldBlock { .. })
    ));
    // Its own array was released by its drop, and had no directory to be unlinked in. No other is
    // a leftover.
    let swept = again.sweep().unwrap();
    assert_eq!((swept.arrays, swept.skipped.len()), (1, 0), "{taker}");
    assert_eq!(again.sweep().unwrap().arrays, 0);
    assert_eq!(again.list().unwrap().len(), 2, "xs and mine");
    // The last of the lost membership closes no number either.
    let elsewhere: Vec<_> = (0..64)
        .map_while(|_| File::open("/proc/self/stat").ok())
        .collect();
    drop((xs_again, again, xs));
    for file in elsewhere.iter().chain([&mine]) {
        rustix::io::fcntl_getfd(file).unwrap();
    }
    common::done();
}

/// The number of the lock file named another file for a while, then the lock file again, through a
/// description that holds no lock. The process believed it: others could sweep its store.
#[test]
fn a_descriptor_that_was_lost_stays_lost_when_its_file_comes_back() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").from_elem(10, 1.0).unwrap();
    let arguments = [
        manager.path().display().to_string(),
        xs.handle().to_string(),
    ];
    common::run(child_gets_its_descriptors_back, &arguments);
}

#[test]
#[ignore = "runs in a child"]
fn child_gets_its_descriptors_back() {
    let [store, handle] = &common::arguments()[..] else {
        panic!()
    };
    let manager = Manager::open(store).unwrap();
    let xs: SharedArray1<f64> = handle.parse::<Handle>().unwrap().open().unwrap();
    let guard = xs.write().unwrap();
    let files: Vec<_> = (3..64)
        .filter_map(|number| {
            let path = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
            path.starts_with(store).then_some((number, path))
        })
        .collect();
    assert!(
        files.len() >= 2,
        "the lock file and the directory: {files:?}"
    );
    let elsewhere = File::open("/proc/self/status").unwrap();
    for (number, _) in &files {
        dup_over(&elsewhere, *number);
    }
    assert!(is_lost(&manager.sweep().map(drop).unwrap_err()));
    assert!(is_lost(&manager.zeros::<f64, _>(5).map(drop).unwrap_err()));
    for (number, path) in &files {
        let mut options = File::options();
        let file = options.read(true).write(path.is_file()).open(path).unwrap();
        dup_over(&file, *number);
    }
    assert!(is_lost(&manager.sweep().map(drop).unwrap_err()));
    assert!(is_lost(&manager.zeros::<f64, _>(5).map(drop).unwrap_err()));
    drop((guard, xs, manager));
    let again = Manager::open(store).unwrap();
    again.zeros::<f64, _>(5).unwrap();
    common::done();
}

/// The other direction: the kernel freed the byte of a member that lived, so others poisoned what
/// it was writing, and a sweep deleted its arrays and its store.
#[test]
fn a_process_that_lost_its_descriptor_stays_alive_for_the_others_until_it_ends() {
    let root = Root::new();
    let beside = root.manager();
    for taker in TAKERS {
        let mut peer = Peer::start(
            child_loses_its_descriptor_and_lives,
            &[
                taker,
                root.path().to_str().unwrap(),
                beside.path().to_str().unwrap(),
            ],
        );
        let store = PathBuf::from(peer.hear("store "));
        // Its store has a living owner, although it holds no descriptor of it.
        Manager::sweep_root(root.path()).unwrap();
        let manager = Manager::open(&store).unwrap();
        let xs = manager.array::<f64, Ix1>("xs").unwrap();
        let timeout = xs.write_timeout(Duration::from_millis(100));
        assert!(matches!(timeout, Err(Error::Timeout { .. })), "{taker}");
        assert!(!xs.is_poisoned().unwrap(), "{taker}");
        assert_eq!(manager.sweep().unwrap().arrays, 0, "{taker}");
        assert_eq!(manager.list().unwrap().len(), 2);
        peer.kill();
        // The kernel frees the byte with the process, as ever.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !xs.is_poisoned().unwrap() {
            assert!(std::time::Instant::now() < deadline, "{taker}");
        }
        assert_eq!(manager.sweep().unwrap().arrays, 1);
        drop((xs, manager));
        Manager::sweep_root(root.path()).unwrap();
        assert!(!store.exists(), "{taker}");
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_loses_its_descriptor_and_lives() {
    let [taker, root, beside] = &common::arguments()[..] else {
        panic!()
    };
    let manager = Manager::builder().root(root).create().unwrap();
    let xs = manager.options().name("xs").zeros::<f64, _>(10).unwrap();
    let _local = manager.zeros::<f64, _>(10).unwrap();
    let _guard = xs.write().unwrap();
    take_the_numbers(taker, Path::new(beside));
    println!("store {}", manager.path().display());
    io::stdin().lines().for_each(drop);
    kill_process(getpid(), Signal::KILL).unwrap();
}

/// A child of a process that lost its descriptor, and a child that closes all descriptors itself,
/// as a daemon does after its fork.
#[test]
fn a_forked_child_without_its_descriptor_says_so_and_opens_the_store_again() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.options().name("xs").from_elem(10, 1.0).unwrap();
    for when in ["before", "after"] {
        let guard = xs.write().unwrap();
        let arguments = [when, manager.path().to_str().unwrap()];
        common::run(child_forks_without_its_descriptor, &arguments);
        drop(guard);
        assert!(!xs.is_poisoned().unwrap(), "{when}");
    }
}

#[test]
#[ignore = "runs in a child"]
#[allow(unsafe_code, reason = "only libc forks")]
fn child_forks_without_its_descriptor() {
    let [when, store] = &common::arguments()[..] else {
        panic!()
    };
    let manager = Manager::open(store).unwrap();
    let xs = manager.array::<f64, Ix1>("xs").unwrap();
    if when == "before" {
        take_the_numbers("a file", Path::new(store));
    }
    // A descriptor of this process that the child must keep as it is.
    let mine = File::open("/proc/self/status").unwrap();
    // SAFETY: the test harness runs one thread here, and the child ends by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            let outcome = std::panic::catch_unwind(|| {
                if when == "after" {
                    take_the_numbers("a file", Path::new(store));
                } else {
                    // SAFETY: a number that may be open or not.
                    let kept = unsafe { BorrowedFd::borrow_raw(mine.as_raw_fd()) };
                    rustix::io::fcntl_getfd(kept).unwrap();
                }
                let error = xs.try_write().map(drop).unwrap_err();
                assert!(is_lost(&error), "{error}");
                let again = Manager::open(store).unwrap();
                let xs = again.array::<f64, Ix1>("xs").unwrap();
                assert!(matches!(xs.try_write(), Err(Error::WouldBlock { .. })));
            });
            // SAFETY: ends the process, and runs nothing of its parent's.
            unsafe { libc::_exit(i32::from(outcome.is_err())) };
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child that was forked above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0);
        }
    }
    common::done();
}
