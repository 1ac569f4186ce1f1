//! Arrays in core dumps: none by default, those that the kernel's filter lets in on request.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "a test forks")]

use crate::common::{self, Root};
use ndarray::Ix1;
use ndshm::{FrozenArray, Handle, HugePages, Manager, SharedArray1};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{fs, os::unix::process::ExitStatusExt};

/// The elements of all arrays.
const ELEMENT: u64 = 0x5eed_ab1e_c0de_d00d;
/// Bytes of the largest core.
const MOST: u64 = 1 << 30;
/// Elements of each.
const LEN: usize = 3 << 17;

// The kernel leaves shared files out of a core dump, except those without a name: a crash wrote all
// arrays that were released and still mapped.
#[test]
fn a_core_dump_has_no_arrays_unless_they_are_wanted() {
    let test = "a_core_dump_has_no_arrays_unless_they_are_wanted";
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if !pattern.starts_with("core") {
        return common::skip(test, "the kernel's core_pattern puts cores elsewhere");
    }
    if getrlimit(Resource::Core)
        .maximum
        .is_some_and(|most| most < MOST)
    {
        return common::skip(test, "ulimit -Hc allows no core");
    }
    for how in ["alone", "forked"] {
        // A register or the stack may have a few.
        let found = elements_in_core(&["default", how]);
        assert!(found < 100, "{how}: {found}");
        let found = elements_in_core(&["wanted", how]);
        // Those without a name: released arrays that are not kept for reuse.
        assert!(found >= 2 * LEN, "{how}: {found}");
    }
}

/// The number of elements of arrays in the core of a child that aborts.
fn elements_in_core(arguments: &[&str]) -> usize {
    let root = Root::new();
    let theirs = root.manager();
    let lent = theirs.from_elem::<u64, _>(LEN, ELEMENT).unwrap();
    let text = lent.handle().to_string();
    let arguments = [&[root.path().to_str().unwrap(), &text], arguments].concat();
    let mut child = common::start(child_aborts, &arguments);
    let mut ready = String::new();
    let output = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    for line in std::io::BufRead::lines(output) {
        ready = line.unwrap();
        if ready == "ready" {
            break;
        }
    }
    assert_eq!(ready, "ready");
    // The child has it mapped.
    lent.release().unwrap();
    drop(child.stdin.take());
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    let core = fs::read_dir(root.path())
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_str().unwrap().starts_with("core"))
        .unwrap();
    let bytes = fs::read(core.path()).unwrap();
    let elements = bytes.chunks_exact(8);
    elements
        .filter(|&bytes| bytes == ELEMENT.to_ne_bytes())
        .count()
}

#[test]
#[ignore = "runs in a child"]
fn child_aborts() {
    let [root, text, wanted, how] = common::arguments().try_into().unwrap();
    std::env::set_current_dir(&root).unwrap();
    let builder = Manager::builder().root(&root).recycle(1 << 30);
    let manager = match wanted.as_str() {
        "wanted" => builder.core_dumps(true),
        _ => builder,
    }
    .create()
    .unwrap();
    let handle: Handle = text.parse().unwrap();
    // A member of the other store has settings of its own.
    let other = Manager::builder().path(handle.path().parent().unwrap());
    let _other = other.core_dumps(wanted == "wanted").open().unwrap();
    let lent: SharedArray1<u64> = handle.open().unwrap();
    let read_only: SharedArray1<u64> = handle.read_only().open().unwrap();

    let make = || manager.from_elem::<u64, _>(LEN, ELEMENT).unwrap();
    let [released, named, recycled, frozen] = [(); 4].map(|()| make());
    released.release().unwrap();
    drop(recycled);
    let read_frozen: FrozenArray<u64, Ix1> = frozen.freeze().unwrap();
    frozen.release().unwrap();
    let reused = make();
    reused.release().unwrap();
    let huge = Manager::builder().root(&root).huge_pages(HugePages::Never);
    let small = huge.core_dumps(wanted == "wanted").create().unwrap();
    let on_small_pages = small.from_shape_fn::<u64, _>(LEN, |_| ELEMENT).unwrap();
    on_small_pages.release().unwrap();

    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let limit = Rlimit {
        current: Some(MOST),
        maximum: Some(MOST),
    };
    setrlimit(Resource::Core, limit).unwrap();
    // SAFETY: the child aborts; its parent waits and aborts without a core.
    if how == "forked" && unsafe { libc::fork() } != 0 {
        // SAFETY: any child; the status is not wanted.
        unsafe { libc::wait(std::ptr::null_mut()) };
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, none).unwrap();
    }
    std::hint::black_box((&lent, &read_only, &released, &named, &read_frozen, &reused));
    std::process::abort();
}
