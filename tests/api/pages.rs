//! The pages of arrays: huge where they can be, all there from the start, mapped before they are
//! written.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "page faults are counted by a call of libc")]

use crate::common::{self, Root};
use ndarray::{Array2, ArrayView1, Axis, Ix1, ShapeBuilder, s};
use ndshm::{Error, Handle, HugePages, Manager, SharedArray1};
use std::path::Path;

const MIB: usize = 1 << 20;

/// Bytes of the mapping of a file that are mapped by huge pages in this process.
fn huge_bytes(path: &Path) -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_of_path = false;
    let mut total = 0;
    for line in smaps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if words[0].contains('-') && !words[0].ends_with(':') {
            is_of_path = words.last().is_some_and(|name| Path::new(name) == path);
        } else if is_of_path && words[0] == "ShmemPmdMapped:" {
            total += words[1].parse::<usize>().unwrap() * 1024;
        }
    }
    total
}

fn faults() -> i64 {
    // SAFETY: a struct of integers, which the call fills.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a struct of the type that is asked for.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(answer, 0);
    usage.ru_minflt
}

/// Whether this kernel makes huge pages when it is asked to. It may not have one free now and then;
/// here it is asked for one.
fn has_huge_pages(test: &str) -> bool {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .huge_pages(HugePages::Require)
        .create()
        .unwrap();
    match manager.zeros::<u8, _>(4 * MIB) {
        Ok(_) => true,
        Err(error) => {
            common::skip(test, &error.to_string());
            false
        }
    }
}

#[test]
fn large_arrays_get_huge_pages_without_privileges_and_openers_map_them_so() {
    if !has_huge_pages("large_arrays_get_huge_pages_without_privileges_and_openers_map_them_so") {
        return;
    }
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .huge_pages(HugePages::Require)
        .create()
        .unwrap();
    let zeros = manager.zeros::<u8, _>(9 * MIB).unwrap();
    assert!(zeros.read().unwrap().iter().all(|&byte| byte == 0));
    assert_eq!(
        huge_bytes(zeros.path()),
        8 * MIB,
        "the rest of a page and the header stay on small pages"
    );
    let source = Array2::from_shape_fn((1024, 1024), |(i, j)| (i * 1024 + j) as f64);
    let copied = manager.from_ndarray(&source).unwrap();
    assert_eq!(
        (&*copied.read().unwrap(), huge_bytes(copied.path())),
        (&*source, 8 * MIB)
    );
    let filled = manager
        .from_shape_fn((1024, 1024).f(), |(i, j)| (i * 1024 + j) as f64)
        .unwrap();
    assert_eq!(
        (&*filled.read().unwrap(), huge_bytes(filled.path())),
        (&*source, 8 * MIB)
    );
    let small = manager
        .zeros::<u8, _>(2 * MIB - common::page() - 1)
        .unwrap();
    assert_eq!((small.read().unwrap()[0], huge_bytes(small.path())), (0, 0));
    common::run(
        child_reads_and_writes_huge_pages,
        &[copied.handle().to_string()],
    );
    assert_eq!(copied.read().unwrap()[[3, 4]], -1.0);
}

#[test]
#[ignore = "runs in a child"]
fn child_reads_and_writes_huge_pages() {
    let xs = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open::<f64, ndarray::Ix2>()
        .unwrap();
    assert_eq!(
        xs.read().unwrap().sum(),
        (1 << 20) as f64 * ((1 << 20) - 1) as f64 / 2.0
    );
    assert_eq!(huge_bytes(xs.path()), 8 * MIB);
    xs.write().unwrap()[[3, 4]] = -1.0;
    common::done();
}

#[test]
fn huge_pages_can_be_switched_off_and_an_error_says_where_required_ones_are_missing() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .huge_pages(HugePages::Never)
        .create()
        .unwrap();
    let xs = manager.ones::<u8, _>(4 * MIB).unwrap();
    assert_eq!(
        (xs.read().unwrap()[4 * MIB - 1], huge_bytes(xs.path())),
        (1, 0)
    );
    // Not on a disk.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let on_disk = Manager::builder()
        .path(directory.path().join("store"))
        .huge_pages(HugePages::Require)
        .create()
        .unwrap();
    let error = on_disk.zeros::<u8, _>(4 * MIB).unwrap_err();
    assert!(
        matches!(error, Error::Io { .. }) && error.to_string().contains("HugePages::Auto"),
        "{error}"
    );
    assert_eq!(on_disk.list().unwrap().len(), 0);
    assert_eq!(
        on_disk.zeros::<u8, _>(MIB).unwrap().len(),
        MIB,
        "arrays that are too small need none"
    );
    let automatic = Manager::builder()
        .path(on_disk.path())
        .huge_pages(HugePages::Auto)
        .open()
        .unwrap();
    assert_eq!(
        automatic.ones::<u8, _>(4 * MIB).unwrap().read().unwrap()[4 * MIB - 1],
        1
    );
    on_disk.close().unwrap();
}

#[test]
fn a_file_system_that_gives_huge_pages_is_left_to_do_it() {
    let root = Root::new();
    let test = "a_file_system_that_gives_huge_pages_is_left_to_do_it";
    if has_huge_pages(test) {
        for option in ["huge=advise", "huge=always", "huge=within_size"] {
            common::run_on_tmpfs(
                test,
                child_makes_arrays_on_a_huge_mount,
                &format!("64m,{option}"),
                root.path(),
            );
        }
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_makes_arrays_on_a_huge_mount() {
    let manager = Manager::builder()
        .root(common::arguments().remove(0))
        .huge_pages(HugePages::Require)
        .create()
        .unwrap();
    let xs = manager.from_elem(8 * MIB, 3u8).unwrap();
    assert_eq!(
        (xs.read().unwrap()[7 * MIB], huge_bytes(xs.path())),
        (3, 8 * MIB)
    );
    common::done();
}

// Required huge pages were taken for granted where the kernel answered yes: it says so too where it
// gives a process none.
#[test]
fn required_huge_pages_that_the_kernel_only_promised_are_an_error() {
    let root = Root::new();
    for option in ["huge=advise", "huge=always", "huge=never"] {
        common::run_on_tmpfs(
            "required_huge_pages_that_the_kernel_only_promised_are_an_error",
            child_may_have_no_huge_pages,
            &format!("64m,{option}"),
            root.path(),
        );
    }
}

#[test]
#[ignore = "runs in a child"]
fn child_may_have_no_huge_pages() {
    // SAFETY: a call of integers, about this process alone.
    let refused = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    assert_eq!(refused, 0);
    let make = |choice| {
        Manager::builder()
            .root(common::arguments().remove(0))
            .huge_pages(choice)
            .create()
            .unwrap()
    };
    let manager = make(HugePages::Require);
    for error in [
        manager.zeros::<u8, _>(8 * MIB).unwrap_err(),
        manager.from_elem(8 * MIB, 3u8).unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::Io { .. }) && error.to_string().contains("huge pages"),
            "{error}"
        );
    }
    assert_eq!(manager.list().unwrap().len(), 0);
    assert_eq!(manager.zeros::<u8, _>(MIB).unwrap().len(), MIB);
    let xs = make(HugePages::Auto).from_elem(8 * MIB, 3u8).unwrap();
    assert_eq!((xs.read().unwrap()[7 * MIB], huge_bytes(xs.path())), (3, 0));
    common::done();
}

#[test]
fn huge_pages_on_a_full_tmpfs_are_no_space_and_what_fits_can_be_written_whole() {
    let root = Root::new();
    common::run_on_tmpfs(
        "huge_pages_on_a_full_tmpfs_are_no_space_and_what_fits_can_be_written_whole",
        child_fills_a_tmpfs_with_large_arrays,
        "21m",
        root.path(),
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_fills_a_tmpfs_with_large_arrays() {
    let root = common::arguments().remove(0);
    let manager = Manager::builder().root(&root).create().unwrap();
    let mut arrays = Vec::<SharedArray1<u8>>::new();
    let error = loop {
        match manager.zeros(5 * MIB / 2) {
            Ok(array) => arrays.push(array),
            Err(error) => break error,
        }
        assert!(arrays.len() < 20, "the tmpfs is never full");
    };
    let of = |len: usize| (len + common::page()) as u64;
    assert!(
        matches!(error, Error::NoSpace { needed, .. } if needed == of(5 * MIB / 2)),
        "{error}"
    );
    assert_eq!(arrays.len(), 8, "nothing but the arrays takes space");
    for array in &arrays {
        array.write().unwrap().fill(1);
    }
    assert!(
        arrays
            .iter()
            .all(|array| array.read().unwrap().iter().all(|&byte| byte == 1))
    );
    let data = vec![7u8; 4 * MIB];
    for len in [MIB, 2 * MIB, 4 * MIB] {
        let error = manager
            .from_ndarray(&ArrayView1::from(&data[..len]))
            .unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { needed, .. } if needed == of(len)),
            "{error}"
        );
    }
    assert_eq!(
        common::files_below(Path::new(&root)).len(),
        1 + 1 + arrays.len()
    );
    drop(arrays);
    assert_eq!(
        manager
            .from_ndarray(&ArrayView1::from(&data))
            .unwrap()
            .read()
            .unwrap()[4 * MIB - 1],
        7
    );
    common::done();
}

#[test]
fn the_pages_of_an_opened_array_are_mapped_before_they_are_written() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .huge_pages(HugePages::Never)
        .create()
        .unwrap();
    let xs = manager.zeros::<f64, _>((1024, 1024)).unwrap();
    common::run(
        child_counts_the_faults_of_its_first_write,
        &[xs.handle().to_string()],
    );
    assert_eq!(xs.read().unwrap().sum(), (1024 * 1024) as f64);
}

#[test]
#[ignore = "runs in a child"]
fn child_counts_the_faults_of_its_first_write() {
    let xs = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open::<f64, ndarray::Ix2>()
        .unwrap();
    for half in xs.axis_chunks(Axis(0), 512).unwrap() {
        let mut guard = half.write().unwrap();
        let before = faults();
        guard.fill(1.0);
        assert!(
            faults() - before < 100,
            "{} of 1024 pages were mapped one by one",
            faults() - before
        );
    }
    // A column of a wide array touches few of the pages between its first and its last.
    let wide = xs
        .into_shape_with_order((64, 16 * 1024))
        .unwrap()
        .slice(s![.., 5])
        .unwrap();
    assert_eq!(wide.write().unwrap().sum(), 64.0);
    common::done();
}

#[test]
fn pages_are_mapped_on_request_when_an_array_is_made_and_when_it_is_opened() {
    let root = Root::new();
    let manager = Manager::builder()
        .root(root.path())
        .huge_pages(HugePages::Never)
        .prefault()
        .create()
        .unwrap();
    let xs = manager.zeros::<u8, _>(4 * MIB).unwrap();
    let guard = xs.read().unwrap();
    let before = faults();
    assert_eq!(
        guard
            .iter()
            .step_by(common::page())
            .map(|&byte| u64::from(byte))
            .sum::<u64>(),
        0
    );
    assert!(faults() - before < 20, "{} faults", faults() - before);
    common::run(
        child_opens_with_its_pages_mapped,
        &[manager.path().to_str().unwrap(), &xs.handle().to_string()],
    );
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_with_its_pages_mapped() {
    let arguments = common::arguments();
    let _manager = Manager::builder()
        .path(&arguments[0])
        .prefault()
        .open()
        .unwrap();
    let xs = arguments[1]
        .parse::<Handle>()
        .unwrap()
        .open::<u8, Ix1>()
        .unwrap();
    let guard = xs.read().unwrap();
    let before = faults();
    assert_eq!(
        guard
            .iter()
            .step_by(common::page())
            .map(|&byte| u64::from(byte))
            .sum::<u64>(),
        0
    );
    assert!(faults() - before < 20, "{} faults", faults() - before);
    common::done();
}
