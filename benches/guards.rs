//! The cost of an uncontended guard, beside a lock within the process and a lock of the kernel.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]
#![allow(
    unsafe_code,
    reason = "the kernel's locks on open file descriptions are calls of libc"
)]

mod ratios;

use ndarray::{Axis, s};
use ndshm::{Manager, SharedArray2};
use ratios::{is_test, medians, report, title};
use std::{fs::File, hint::black_box, os::fd::AsRawFd, sync::RwLock};

/// Takes and releases an exclusive lock of the kernel on eight bytes.
fn lock_by_kernel(file: &File) {
    for kind in [libc::F_WRLCK, libc::F_UNLCK] {
        let lock = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 8,
            l_pid: 0,
        };
        // SAFETY: F_OFD_SETLK reads the flock that it is given; the descriptor is open.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        assert_eq!(answer, 0);
    }
}

fn main() {
    let manager = Manager::new().unwrap();
    let xs: SharedArray2<f64> = manager.zeros((100, 100)).unwrap();
    let (rows, columns) = (
        xs.slice(s![..50, ..]).unwrap(),
        xs.slice(s![.., ..50]).unwrap(),
    );
    let held: Vec<_> = xs
        .axis_chunks(Axis(0), 5)
        .unwrap()
        .skip(10)
        .map(|rows| rows.read().unwrap())
        .collect();
    let rwlock = RwLock::new(0u64);
    let file = tempfile::tempfile().unwrap();

    let mut read = || drop(black_box(rows.read().unwrap()));
    let mut write = || drop(black_box(rows.write().unwrap()));
    let mut columns_read = || drop(black_box(columns.read().unwrap()));
    let mut kernel = || lock_by_kernel(&file);
    let mut std_read = || drop(black_box(rwlock.read().unwrap()));
    let mut std_write = || drop(black_box(rwlock.write().unwrap()));
    if is_test() {
        read();
        write();
        columns_read();
        kernel();
        return;
    }
    title();
    report(
        "write guard among ten others",
        "std's RwLock",
        &medians(&mut [&mut write, &mut std_write]),
    );
    drop(held);
    report(
        "read guard, taken and dropped",
        "std's RwLock",
        &medians(&mut [&mut read, &mut std_read]),
    );
    report(
        "write guard, taken and dropped",
        "std's RwLock",
        &medians(&mut [&mut write, &mut std_write]),
    );
    report(
        "read guard on columns",
        "std's RwLock",
        &medians(&mut [&mut columns_read, &mut std_read]),
    );
    report(
        "write guard, taken and dropped",
        "F_OFD_SETLK pair",
        &medians(&mut [&mut write, &mut kernel]),
    );
}
