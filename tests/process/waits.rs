//! Waits for locks that a stopped process holds: each ends at the limit that its caller gave.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "byte locks are calls of libc")]

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{Error, Manager, Observer, Scope, SharedArray1};
use std::{
    fs::File,
    io::BufRead,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    time::Duration,
};

const LIMIT: Duration = Duration::from_millis(50);
/// Offsets of `docs/format.md`.
const NAMES: u64 = 1 << 31;
const CLOSING: u64 = NAMES + 1;
const BOOT_AT: u64 = 56;
const LOCK_WORD_AT: u64 = 128;

/// A process that took a lock and was stopped.
struct Stopped {
    peer: Peer,
}

impl Stopped {
    fn holding(lock: &str, path: &Path) -> Self {
        let mut peer = Peer::start(child_takes_a_lock, &[Path::new(lock), path]);
        let id: i32 = peer.hear("holds ").parse().unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::STOP).unwrap();
        Self { peer }
    }

    fn end(mut self) {
        self.peer.kill();
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_a_lock() {
    let arguments = common::arguments();
    let (lock, path) = (arguments[0].as_str(), Path::new(&arguments[1]));
    let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
    let mut held: Vec<Box<dyn Send>> = Vec::new();
    match lock {
        "flock" => {
            let file = File::open(path).unwrap();
            file.try_lock().unwrap();
            held.push(Box::new(file));
        }
        "member" => held.push(Box::new(Manager::open(path).unwrap())),
        byte => {
            let file = open(path);
            let lock = libc::flock {
                l_type: libc::F_WRLCK as i16,
                l_whence: libc::SEEK_SET as i16,
                l_start: byte.parse().unwrap(),
                l_len: 1,
                l_pid: 0,
            };
            // SAFETY: the command reads the flock that it is given, and the descriptor is open.
            let answer =
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
            assert_eq!(answer, 0);
            held.push(Box::new(file));
        }
    }
    println!("holds {}", std::process::id());
    std::io::stdin()
        .lock()
        .read_line(&mut String::new())
        .unwrap();
    drop(held);
    common::done();
}

/// Requires a time-out that names the lock and the remedy.
#[track_caller]
fn times_out<T>(result: Result<T, Error>, lock: &str) {
    let error = result.err().expect("the call succeeded");
    let text = error.to_string();
    let is_timeout = matches!(error, Error::Timeout { waited, .. } if waited <= LIMIT);
    assert!(
        is_timeout && text.contains(lock) && text.contains("SIGCONT"),
        "{error:?}"
    );
}

fn limited(root: &Root) -> ndshm::Builder {
    Manager::builder().root(root.path()).lock_timeout(LIMIT)
}

// A process that published, released or removed a named array waited without end for a stopped one
// that held the lock on the names, whatever `lock_timeout` was.
#[test]
fn a_limit_ends_the_wait_for_the_names_of_a_store() {
    let root = Root::new();
    let manager = limited(&root).create().unwrap();
    let named = |name: &str| manager.options().name(name).zeros::<f64, _>(5);
    let (first, second) = (named("first").unwrap(), named("second").unwrap());
    let local = manager.options().name("local").scope(Scope::Local);
    let local = local.zeros::<f64, _>(5).unwrap();
    let stopped = Stopped::holding(&NAMES.to_string(), &manager.path().join(".lock"));
    let lock = "the lock on the names";
    times_out(named("third"), lock);
    times_out(first.release(), lock);
    times_out(manager.remove("second"), lock);
    drop(local);
    let swept = manager.sweep().unwrap();
    assert!(swept.skipped.len() == 3, "{swept:?}");
    // Arrays without a name take no lock.
    manager.zeros::<f64, _>(5).unwrap().release().unwrap();
    drop((first, second));
    stopped.end();
    // What was released stays released, and its name is free.
    assert!(matches!(
        manager.array::<f64, Ix1>("first"),
        Err(Error::Released { .. })
    ));
    named("first").unwrap();
    manager.sweep().unwrap();
    let names: Vec<_> = manager
        .list()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, [Some("first".into())]);
}

// The first process after a boot takes the lock on the names too.
#[test]
fn a_limit_ends_the_wait_of_a_join_after_a_boot() {
    let root = Root::new();
    let manager = limited(&root).create().unwrap();
    let lock = manager.path().join(".lock");
    let file = File::options().write(true).open(&lock).unwrap();
    file.write_all_at(&[7; 16], BOOT_AT).unwrap();
    let stopped = Stopped::holding(&NAMES.to_string(), &lock);
    common::run(
        child_joins_in_vain,
        &[manager.path(), Path::new("the lock on the names")],
    );
    stopped.end();
}

#[test]
#[ignore = "runs in a child"]
fn child_joins_in_vain() {
    let arguments = common::arguments();
    let builder = Manager::builder().path(&arguments[0]).lock_timeout(LIMIT);
    times_out(builder.open(), &arguments[1]);
    common::done();
}

// A sweep that is stopped while it holds the flock of a store kept every process from joining, and
// every other sweep of the root from ending.
#[test]
fn a_limit_ends_the_wait_for_the_flock_of_a_store() {
    let root = Root::new();
    let manager = limited(&root).name("kept").persistent().create().unwrap();
    let path = manager.path().to_path_buf();
    drop(manager);
    let stopped = Stopped::holding("flock", &path.join(".lock"));
    let lock = "the flock of the store's lock file";
    times_out(limited(&root).name("kept").open(), lock);
    times_out(limited(&root).name("kept").open_or_create(), lock);
    let swept = Manager::sweep_root_timeout(root.path(), LIMIT).unwrap();
    let [skipped] = <[Error; 1]>::try_from(swept.skipped).unwrap();
    times_out(Err::<(), _>(skipped), lock);
    stopped.end();
    Manager::open(path).unwrap().close().unwrap();
}

#[test]
fn a_limit_ends_the_wait_for_the_flock_of_a_root() {
    let root = Root::new();
    let stopped = Stopped::holding("flock", root.path());
    times_out(limited(&root).create(), "the flock of this directory");
    times_out(
        limited(&root).name("kept").persistent().open_or_create(),
        "the flock of this directory",
    );
    stopped.end();
    assert_eq!(root.contents(), Vec::<PathBuf>::new());
}

#[test]
fn a_limit_ends_the_wait_for_another_closer() {
    let root = Root::new();
    let manager = limited(&root).name("kept").persistent().create().unwrap();
    let stopped = Stopped::holding(&CLOSING.to_string(), &manager.path().join(".lock"));
    let lock = "another process that deletes this store";
    times_out(manager.close(), lock);
    times_out(
        limited(&root).name("kept").persistent().open_or_create(),
        lock,
    );
    drop(manager);
    let swept = Manager::sweep_root_timeout(root.path(), LIMIT).unwrap();
    assert_eq!(swept.skipped.len(), 1, "{swept:?}");
    stopped.end();
    assert_eq!(Manager::sweep_root(root.path()).unwrap().stores, 1);
}

// `poisoned` waited for the lock word without end, and so did `recover` of the tool.
#[test]
fn a_limit_ends_the_wait_for_a_lock_word() {
    let root = Root::new();
    let manager = limited(&root).create().unwrap();
    let xs = manager.zeros::<u64, _>(5).unwrap();
    let observer = Observer::open(manager.path()).unwrap();
    let before = observer.members().unwrap();
    let stopped = Stopped::holding("member", manager.path());
    let members = observer.members().unwrap();
    let holder = members
        .into_iter()
        .find(|member| !before.contains(member))
        .unwrap();
    let file = File::options().write(true).open(xs.path()).unwrap();
    file.write_all_at(&holder.to_ne_bytes(), LOCK_WORD_AT)
        .unwrap();

    let lock = "the array's lock word";
    times_out(xs.poisoned(), lock);
    times_out(xs.is_poisoned(), lock);
    times_out(xs.read(), lock);
    times_out(xs.read_timeout(LIMIT), lock);
    times_out(xs.write(), lock);
    times_out(xs.write_timeout(LIMIT), lock);
    times_out(xs.recover(), lock);
    times_out(xs.atomic(), lock);
    times_out(xs.freeze(), lock);
    times_out(xs.to_ndarray(), lock);
    for refused in [xs.try_read().map(drop), xs.try_write().map(drop)] {
        assert!(
            matches!(refused, Err(Error::WouldBlock { .. })),
            "{refused:?}"
        );
    }
    stopped.end();
    assert_eq!(xs.poisoned().unwrap(), []);
}

#[test]
fn a_limit_ends_the_wait_for_the_end_of_a_store() {
    let root = Root::new();
    let manager = limited(&root).create().unwrap();
    common::run(child_waits_for_the_end_of_a_store, &[manager.path()]);
}

#[test]
#[ignore = "runs in a child"]
fn child_waits_for_the_end_of_a_store() {
    let store = common::arguments().remove(0);
    let waited = Manager::sweep_when_deserted_timeout(store, LIMIT);
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    common::done();
}

// Times that no clock can count are no limit, and no overflow.
#[test]
fn the_longest_limit_is_none() {
    let root = Root::new();
    let builder = Manager::builder().root(root.path());
    let manager = builder.lock_timeout(Duration::MAX).create().unwrap();
    let xs = manager.options().name("xs").zeros::<f64, _>(5).unwrap();
    drop(xs.read_timeout(Duration::MAX).unwrap());
    xs.freeze().unwrap();
    xs.handle().wait_frozen(Duration::MAX).unwrap();
    Manager::sweep_root_timeout(root.path(), Duration::MAX).unwrap();
    assert_eq!(xs.poisoned().unwrap(), []);
}

// A runtime that defers its signal handlers ends waits by a check: all of them, not those for
// guards only.
#[test]
fn a_check_ends_each_wait() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .name("kept")
        .persistent();
    let manager = manager.create().unwrap();
    let xs = manager.options().name("xs").zeros::<f64, _>(5).unwrap();
    let stopped = Stopped::holding(&NAMES.to_string(), &manager.path().join(".lock"));
    common::run(child_is_interrupted, &[xs.path()]);
    stopped.end();
    drop(xs);
    manager.close().unwrap();
}

#[test]
#[ignore = "runs in a child"]
fn child_is_interrupted() {
    let path = common::arguments().remove(0);
    ndshm::set_interrupt_check(|| true);
    let xs = SharedArray1::<f64>::open_path(&path).unwrap();
    let is_interrupted = |error: Error| matches!(error, Error::Interrupted { .. });
    // For the names, in the kernel.
    let named = xs.manager().options().name("ys").zeros::<f64, _>(5);
    assert!(is_interrupted(named.unwrap_err()));
    // For a guard, in the table.
    let held = xs.write().unwrap();
    let view = xs.view().unwrap();
    let waited = common::elsewhere(move || view.read().map(drop));
    assert!(is_interrupted(waited.unwrap_err()));
    drop(held);
    // For a freeze.
    let waited = xs.handle().wait_frozen(Duration::MAX);
    assert!(is_interrupted(waited.unwrap_err()));
    // For a change of an element, and for a name.
    let counts = xs.manager().zeros::<u32, _>(1).unwrap();
    let waited = counts.atomic().unwrap().wait(0, 0, Duration::MAX);
    assert!(is_interrupted(waited.unwrap_err()));
    let waited = xs.manager().wait_for("ys", Duration::MAX);
    assert!(is_interrupted(waited.unwrap_err()));
    common::done();
}
