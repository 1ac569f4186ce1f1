//! What does not call the kernel: guards that nobody contends for.
#![allow(unsafe_code, reason = "a system call as a mark is a call of libc")]

mod common;

use common::Root;
use ndarray::s;
use ndshm::{Handle, SharedArray2};
use std::process::{Command, Stdio};

#[test]
fn an_uncontended_guard_makes_no_system_call() {
    let name = "an_uncontended_guard_makes_no_system_call";
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return common::skip(name, "strace is not installed here");
    }
    let root = Root::new();
    let manager = root.manager();
    let xs = manager.zeros::<f64, _>((100, 100)).unwrap();
    let trace = root.path().join("trace");
    let child = common::child_command("child_takes_guards_between_two_marks", &[xs.handle().to_string()]);
    let mut strace = Command::new("strace");
    strace.arg("-f").arg("-o").arg(&trace).arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(key, value)| Some((key, value?)))).stdout(Stdio::piped()).stderr(Stdio::piped());
    common::finish(strace.spawn().unwrap());
    let trace = std::fs::read_to_string(trace).unwrap();
    let marks: Vec<_> = trace.lines().enumerate().filter(|(_, line)| line.contains("getsid(")).map(|(number, _)| number).collect();
    assert_eq!(marks.len(), 2, "{trace}");
    let lines: Vec<_> = trace.lines().collect();
    let thread = lines[marks[0]].split_whitespace().next().unwrap();
    let between: Vec<_> = lines[marks[0] + 1..marks[1]].iter().filter(|line| line.starts_with(thread)).collect();
    assert!(between.is_empty(), "{between:?}");
}

#[test]
#[ignore = "runs in a child"]
fn child_takes_guards_between_two_marks() {
    let xs: SharedArray2<f64> = common::arguments()[0].parse::<Handle>().unwrap().open().unwrap();
    let (rows, columns) = (xs.slice(s![..50, ..]).unwrap(), xs.slice(s![50.., ..;-2]).unwrap());
    let work = || {
        for _ in 0..1000 {
            let (mut first, second) = (rows.write().unwrap(), columns.read().unwrap());
            first[[0, 0]] += second[[0, 0]];
        }
        drop(xs.try_write().unwrap());
    };
    // Once before: memory that is touched first and what a thread sets up are not the guards' affair.
    work();
    // SAFETY: a system call that changes nothing, and that nothing else here makes.
    unsafe { libc::getsid(0) };
    work();
    // SAFETY: as above.
    unsafe { libc::getsid(0) };
    common::done();
}
