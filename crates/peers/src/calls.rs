//! The cost of each bare system call that makes a file: the time that no library can save.
#![allow(unsafe_code, reason = "maps by hand, and calls libc")]

use crate::{
    bytes,
    floors::PAGE,
    peer::{Place, Result},
    results::Results,
};
use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags},
    mm::{MapFlags, ProtFlags},
};
use std::{fs::File, hint::black_box, io::IoSlice, path::Path, ptr, time::Instant};

/// Sizes of the payload.
pub const SIZES: [usize; 3] = [PAGE, 64 << 10, 1 << 20];
/// The calls, in the order of the table.
pub const CALLS: [&str; 13] = [
    "openat(O_CREAT, O_EXCL)",
    "pwritev, pages that are new",
    "pwritev, pages that are there",
    "fallocate",
    "copying into the new mapping after it",
    "mmap",
    "the first fault, of reading",
    "renameat2",
    "lstat",
    "getrlimit",
    "getrandom",
    "unlink",
    "the last munmap, which frees the pages",
];
/// The operation of a sum, and its size.
pub const SUM: (&str, usize) = ("bare sum", 16 << 20);

struct Clock<'a> {
    results: &'a mut Results,
    bytes: usize,
    round: usize,
}

impl Clock<'_> {
    fn time<T>(&mut self, call: usize, action: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = action();
        self.results.add(
            CALLS[call],
            "bare call",
            self.bytes,
            self.round,
            start.elapsed().as_nanos() as f64,
        );
        result
    }
}

fn make(path: &Path) -> Result<File> {
    Ok(File::from(rustix::fs::openat(
        CWD,
        path,
        OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?))
}

fn map(file: &File, len: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
    Ok(unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            file,
            0,
        )
    }?
    .cast())
}

fn unmap(address: *mut u8, len: usize) -> Result<()> {
    // SAFETY: mapped by `map`, and nothing refers to it any more.
    Ok(unsafe { rustix::mm::munmap(address.cast(), len) }?)
}

fn one(clock: &mut Clock<'_>, place: &Place, body: &[u8]) -> Result<()> {
    let (path, renamed) = (
        place.directory.join("call-a"),
        place.directory.join("call-b"),
    );
    let (head, len) = ([1; PAGE], PAGE + body.len());
    let parts = [IoSlice::new(&head), IoSlice::new(body)];
    let file = clock.time(0, || make(&path))?;
    clock.time(1, || rustix::io::pwritev(&file, &parts, 0))?;
    clock.time(2, || rustix::io::pwritev(&file, &parts, 0))?;
    let address = clock.time(5, || map(&file, len))?;
    // SAFETY: the address is that of the first byte of the mapping, and the file has that byte.
    clock.time(6, || black_box(unsafe { address.read_volatile() }));
    drop(file);
    clock.time(7, || {
        rustix::fs::renameat_with(CWD, &path, CWD, &renamed, RenameFlags::NOREPLACE)
    })?;
    clock.time(8, || rustix::fs::lstat(&renamed))?;
    clock.time(9, || {
        rustix::process::getrlimit(rustix::process::Resource::Fsize)
    });
    let mut random = [0u8; 16];
    // SAFETY: the pointer and length are those of sixteen writable bytes.
    clock.time(10, || unsafe {
        libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0)
    });
    clock.time(11, || std::fs::remove_file(&renamed))?;
    clock.time(12, || unmap(address, len))?;

    let file = make(&path)?;
    clock.time(3, || {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len as u64)
    })?;
    let address = map(&file, len)?;
    // SAFETY: the target is the bytes after the first page of the mapping, all of them in the file;
    // the source is a slice elsewhere.
    clock.time(4, || unsafe {
        ptr::copy_nonoverlapping(body.as_ptr(), address.wrapping_add(PAGE), body.len())
    });
    unmap(address, len)?;
    Ok(std::fs::remove_file(&path)?)
}

/// Measures all calls, and sums of the heap in and out of the cache.
pub fn run(results: &mut Results, place: &Place, is_quick: bool) -> Result<()> {
    eprintln!("bare system calls");
    for size in SIZES {
        let body = vec![2; size];
        let calls = if is_quick { 20 } else { 1000 };
        for round in 0..=calls {
            one(
                &mut Clock {
                    results,
                    bytes: size,
                    round,
                },
                place,
                &body,
            )?;
        }
    }
    // Bytes that are summed repeatedly are in a cache; bytes that another process just wrote are
    // not.
    let source = bytes::source(SUM.1 / 8);
    let mut other = vec![1u8; 256 << 20];
    for round in 0..if is_quick { 2 } else { 20 } {
        for variant in ["in a cache", "in a cache", "elsewhere"] {
            if variant == "elsewhere" {
                other
                    .iter_mut()
                    .step_by(64)
                    .for_each(|byte| *byte = byte.wrapping_add(1));
                black_box(&mut other);
            }
            let start = Instant::now();
            black_box(bytes::sum(&source));
            results.add(
                variant,
                SUM.0,
                SUM.1,
                round,
                start.elapsed().as_nanos() as f64,
            );
        }
    }
    Ok(())
}
