//! Every system call of a process's work with a store fails once: no panic, no endless wait,
//! nothing deleted that is alive or of others, nothing left that a sweep does not delete, and an
//! error that names the failed call.
//!
//! A first run under strace counts the calls between two marks. Then each of them fails in a run of
//! its own. By default a part of them does; `NDSHM_REFUSED_CALLS=1` is the long run with all.

use crate::common::{self, Peer, Root};
use ndarray::Ix1;
use ndshm::{Error, Manager, Scope};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Paths that do not exist: a look at them is a mark among the system calls.
const BEGIN: &str = "/ndshm-begins";
const END: &str = "/ndshm-ends";

/// Of so many failures one is tried by default.
const ONE_OF: usize = 37;

/// Calls that cannot fail, and those of the standard library, which panics, of the C library and of
/// the test harness.
const NOT_OURS: [&str; 16] = [
    "brk",
    "clock_nanosleep",
    "close",
    "exit_group",
    "futex",
    "geteuid",
    "getpid",
    "getrandom",
    "gettid",
    "munmap",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "write",
];

/// Runs the work of a child with its thread traced by strace. Returns the child's output.
fn traced(root: &Root, options: &[&str]) -> Result<String, String> {
    let mut peer = Peer::start(child_works_with_stores, &[root.path()]);
    let thread = peer.hear("thread ");
    let mut strace = Command::new("timeout")
        .args(["--signal=KILL", "60", "strace", "-p", &thread])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(strace.stderr.take().unwrap()).lines();
    let first = lines.next().map(Result::unwrap).unwrap_or_default();
    assert!(first.contains("attached"), "{first}");
    peer.tell("go");
    // To its end, or until the time of strace is over.
    lines.for_each(drop);
    if strace.wait().unwrap().success() {
        peer.end()
    } else {
        peer.kill();
        Err("the process did not end in time".into())
    }
}

/// A root with what must survive: a persistent store with an array and a file of the user.
struct Prepared {
    root: Root,
    kept: PathBuf,
}

impl Prepared {
    fn new() -> Self {
        let root = Root::new();
        let kept = Manager::builder()
            .root(root.path())
            .name("kept")
            .persistent();
        let kept = kept.create().unwrap();
        let values = ndarray::arr1(&[1.0, 2.0, 3.0]);
        kept.options().name("kept").from_ndarray(&values).unwrap();
        fs::write(kept.path().join("note.txt"), "of the user").unwrap();
        // Leftovers: a sweep has something to do.
        fs::create_dir(root.path().join(".ndshm-new-left")).unwrap();
        fs::create_dir(root.path().join(".ndshm-gone-left")).unwrap();
        let kept = kept.path().to_path_buf();
        Self { root, kept }
    }

    fn check(&self, failure: &str) {
        assert_eq!(
            fs::read_to_string(self.kept.join("note.txt")).unwrap(),
            "of the user",
            "{failure}"
        );
        let kept = Manager::open(&self.kept).unwrap();
        let values = kept.array::<f64, Ix1>("kept").unwrap();
        assert_eq!(values.read().unwrap().sum(), 6.0, "{failure}");
        let names: Vec<_> = kept
            .list()
            .unwrap()
            .into_iter()
            .map(|info| info.name)
            .collect();
        assert!(names.contains(&Some("kept".into())), "{failure}: {names:?}");
        drop((values, kept));
        if let Ok(second) = Manager::builder()
            .root(self.root.path())
            .name("second")
            .open()
        {
            second.close().unwrap();
        }
        let swept = Manager::sweep_root(self.root.path()).unwrap();
        assert!(swept.skipped.is_empty(), "{failure}: {swept:?}");
        let left: Vec<_> = fs::read_dir(self.root.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(left, std::slice::from_ref(&self.kept), "{failure}");
    }
}

/// The name of the call in a line of strace.
fn call(line: &str) -> Option<&str> {
    let name = line.split('(').next()?;
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = name.bytes().all(is_letter);
    (is_name && !name.is_empty()).then_some(name)
}

/// For each system call, which ones of the process come between the marks: the first and the last.
fn calls_between_marks(log: &str) -> BTreeMap<String, (usize, usize)> {
    let (mut counts, mut found) = (BTreeMap::<&str, usize>::new(), BTreeMap::new());
    let mut is_between = false;
    for line in log.lines() {
        let Some(name) = call(line) else { continue };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        if line.contains(BEGIN) || line.contains(END) {
            is_between = line.contains(BEGIN);
        } else if is_between {
            found.entry(name.to_owned()).or_insert((*nth, *nth)).1 = *nth;
        }
    }
    found
}

// lstat that failed was taken for a deleted store, and a file that could not be looked at for one
// of the store.
#[test]
fn each_system_call_may_fail_once() {
    let test = "each_system_call_may_fail_once";
    if !super::has_strace() {
        return common::skip(test, "strace is not installed here");
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let prepared = Prepared::new();
    let printed = traced(&prepared.root, &["-o", log.path().to_str().unwrap()]).unwrap();
    assert!(!printed.contains("failed:"), "{printed}");
    prepared.check("no failure");
    let calls = calls_between_marks(&fs::read_to_string(log.path()).unwrap());
    assert!(
        calls.contains_key("flock") && calls.contains_key("fcntl"),
        "{calls:?}"
    );

    let is_long = std::env::var_os("NDSHM_REFUSED_CALLS").is_some();
    let (mut tried, mut next, mut wrong) = (0, 0, Vec::new());
    for (name, (first, last)) in calls {
        if NOT_OURS.contains(&name.as_str()) {
            continue;
        }
        for nth in first..=last {
            for error in ["EIO", "ENOMEM", "EACCES", "ENOSYS"] {
                next += 1;
                if !is_long && next % ONE_OF != 0 {
                    continue;
                }
                tried += 1;
                if std::panic::catch_unwind(|| fails_once(&name, nth, error)).is_err() {
                    wrong.push(format!("{name}:error={error}:when={nth}"));
                }
            }
        }
    }
    println!("{tried} failures were tried");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fails_once(name: &str, nth: usize, error: &str) {
    let failure = format!("{name}:error={error}:when={nth}");
    let prepared = Prepared::new();
    let inject = format!("inject={failure}");
    let printed = traced(&prepared.root, &["-o", "/dev/null", "-e", &inject]);
    let out = printed.unwrap_or_else(|output| panic!("{failure}: {output}"));
    for line in out.lines().filter(|line| line.contains("failed:")) {
        println!("{failure}: {line}");
        // Errors that claim to know more than a failed call tells.
        for claim in ["Closed", "NotFound", "Released", "PathReused", "Header"] {
            assert!(
                !line.contains(&format!("failed: {claim}")),
                "{failure}: {line}"
            );
        }
    }
    prepared.check(&failure);
}

#[test]
#[ignore = "runs in a child"]
fn child_works_with_stores() {
    let root = common::arguments().remove(0);
    println!("thread {}", rustix::thread::gettid().as_raw_nonzero());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let mark = |path: &str| assert!(fs::symlink_metadata(path).is_err());
    mark(BEGIN);
    works(Path::new(&root));
    mark(END);
    common::done();
}

/// Prints an error, and goes on without the value.
fn told<T>(step: &str, result: Result<T, Error>) -> Option<T> {
    result
        .map_err(|error| println!("{step} failed: {error:?}"))
        .ok()
}

fn works(root: &Path) {
    let ephemeral = told("create", Manager::builder().root(root).create());
    if let Some(manager) = &ephemeral {
        works_in(manager);
        told("sweep", manager.sweep());
        told("close", manager.close());
    }
    drop(ephemeral);
    let second = Manager::builder().root(root).name("second").persistent();
    if let Some(second) = told("create the second", second.open_or_create()) {
        told("close the second", second.close());
    }
    let Some(kept) = told("open", Manager::open(root.join("kept"))) else {
        return;
    };
    if let Some(values) = told("open an array", kept.array::<f64, Ix1>("kept")) {
        told("read", values.read().map(drop));
    }
    // The note keeps it from being deleted.
    let refused = kept.close();
    assert!(refused.is_err(), "closed");
}

fn works_in(manager: &Manager) {
    let large = told("zeros", manager.zeros::<f64, _>(1 << 18));
    let named = manager.options().name("named").scope(Scope::Store);
    let named = told(
        "from_ndarray",
        named.from_ndarray(&ndarray::arr1(&[1.0, 2.0])),
    );
    if let Some(large) = &large {
        told("write", large.write().map(drop));
    }
    if let Some(named) = named {
        let opened = told("open", named.handle().open::<f64, Ix1>());
        if let Some(opened) = opened {
            assert_eq!(opened.read().unwrap().sum(), 3.0);
            told("freeze", opened.freeze());
        }
        told("list", manager.list());
        told("usage", manager.usage());
        told("release", named.release());
    }
    if let Some(taken) = told(
        "take the name",
        manager.options().name("named").zeros::<u8, _>(5),
    ) {
        told("rescope", taken.set_scope(Scope::Local));
    }
}
