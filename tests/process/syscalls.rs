//! Operations without a system call: guards without contention, and opening an array that is open
//! or was open just before.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(unsafe_code, reason = "a system call as a mark is a call of libc")]

use crate::common::{self, Root};
use ndarray::{Ix2, s};
use ndshm::{Handle, SharedArray2};
use std::process::{Command, Stdio};

/// The system calls that the thread of a child's test makes between two calls of `mark`; none where
/// strace is not there.
#[track_caller]
fn calls_between_marks(
    test: &str,
    child: impl Fn(),
    root: &Root,
    arguments: &[String],
) -> Option<Vec<String>> {
    if !Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        common::skip(test, "strace is not installed here");
        return None;
    }
    let trace = root.path().join("trace");
    let child = common::child_command(child, arguments);
    let mut strace = Command::new("strace");
    strace
        .arg("-f")
        .arg("-o")
        .arg(&trace)
        .arg(child.get_program())
        .args(child.get_args());
    strace
        .envs(
            child
                .get_envs()
                .filter_map(|(key, value)| Some((key, value?))),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    common::finish(strace.spawn().unwrap());
    let trace = std::fs::read_to_string(trace).unwrap();
    let marks: Vec<_> = trace
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("getsid("))
        .map(|(number, _)| number)
        .collect();
    assert_eq!(marks.len(), 2, "{trace}");
    let lines: Vec<_> = trace.lines().collect();
    let thread = lines[marks[0]].split_whitespace().next().unwrap();
    Some(
        lines[marks[0] + 1..marks[1]]
            .iter()
            .filter(|line| line.starts_with(thread))
            .map(|line| line.to_string())
            .collect(),
    )
}

fn mark() {
    // SAFETY: a system call that changes nothing, and that nothing else here makes.
    unsafe { libc::getsid(0) };
}

#[test]
fn an_uncontended_guard_makes_no_system_call() {
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((100, 100)).unwrap();
    let arguments = [xs.handle().to_string()];
    let calls = calls_between_marks(
        "an_uncontended_guard_makes_no_system_call",
        child_takes_guards_between_two_marks,
        &root,
        &arguments,
    );
    assert!(calls.as_ref().is_none_or(Vec::is_empty), "{calls:?}");
}

#[test]
fn an_array_that_is_open_or_was_open_a_moment_ago_is_opened_without_a_system_call() {
    let root = Root::new();
    let manager = root.manager();
    let [xs, ys] = [(); 2].map(|()| manager.ones::<f64, _>((100, 100)).unwrap());
    let arguments = [
        xs.handle().to_string(),
        ys.slice(s![1..3, ..;-2]).unwrap().handle().to_string(),
    ];
    let test = "an_array_that_is_open_or_was_open_a_moment_ago_is_opened_without_a_system_call";
    let calls = calls_between_marks(test, child_opens_between_two_marks, &root, &arguments);
    assert!(calls.as_ref().is_none_or(Vec::is_empty), "{calls:?}");
}

#[test]
#[ignore = "runs in a child"]
fn child_opens_between_two_marks() {
    let handles: Vec<Handle> = common::arguments()
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let work = || {
        let mut sum = 0.0;
        for _ in 0..100 {
            // The first one twice at once, then both anew.
            let open = [0, 0, 1].map(|which: usize| handles[which].open::<f64, Ix2>().unwrap());
            sum += open
                .iter()
                .map(|array| array.read().unwrap().sum())
                .sum::<f64>();
        }
        sum
    };
    work();
    mark();
    assert_eq!(work(), 100.0 * (2.0 * 10_000.0 + 100.0));
    mark();
    common::done();
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_guards_between_two_marks() {
    let xs: SharedArray2<f64> = common::arguments()[0]
        .parse::<Handle>()
        .unwrap()
        .open()
        .unwrap();
    let (rows, columns) = (
        xs.slice(s![..50, ..]).unwrap(),
        xs.slice(s![50.., ..;-2]).unwrap(),
    );
    let work = || {
        for _ in 0..1000 {
            let (mut first, second) = (rows.write().unwrap(), columns.read().unwrap());
            first[[0, 0]] += second[[0, 0]];
        }
        drop(xs.try_write().unwrap());
    };
    // Once before: the first touch of memory and the setup of a thread do not count.
    work();
    mark();
    work();
    mark();
    common::done();
}
