//! Checks that opening an array that the process has open makes no system call: a process that may
//! make none opens it a thousand times.

use crate::{
    peer::{Place, Result},
    peers::ndshm::{DEFAULT, manager},
};
use ndarray::Ix1;
use ndshm::SharedArray1;
use std::{hint::black_box, process::Command};

const OPENS: usize = 1000;

/// Makes the attempt. The process ends in this function; the kernel kills it if an opening makes a
/// system call.
#[allow(
    unsafe_code,
    reason = "strict mode and the bare exit are calls of libc"
)]
pub fn attempt(place: &Place) -> Result<()> {
    let manager = manager(&place.directory, DEFAULT)?;
    let array: SharedArray1<f64> = manager.zeros(512)?;
    let handle = array.handle();
    let open = || handle.open::<f64, Ix1>().is_ok();
    // First without the restriction, so that the allocator has its memory.
    let mut opened = (0..OPENS).all(|_| black_box(open()));
    // SAFETY: the call takes numbers only. From here on the process may only read, write and exit.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    opened &= (0..OPENS).all(|_| black_box(open()));
    // SAFETY: the call takes a number and ends the process at once; no other way of ending it is
    // allowed now.
    unsafe { libc::syscall(libc::SYS_exit, libc::c_int::from(!opened)) };
    Ok(())
}

/// Runs the attempt in a process of its own, and returns whether it succeeded.
pub fn succeeds(place: &Place) -> Result<bool> {
    let status = Command::new(std::env::current_exe()?)
        .arg("strict")
        .arg(&place.directory)
        .status()?;
    match status.code() {
        Some(0) => Ok(true),
        None => Ok(false),
        Some(_) => Err("the process without system calls could not be run".into()),
    }
}
