//! Measurements within one process, in turns with their floors: cached opens, guards, elements
//! through guards, recycled files.

use crate::{
    bytes,
    floors::PAGE,
    peer::{Place, Result},
    peers::ndshm::{DEFAULT, RECYCLED, manager},
    results::Results,
};
use ndarray::{Array1, Ix1};
use ndshm::{Manager, SharedArray1};
use std::{
    fs::{self, File},
    hint::black_box,
    os::fd::AsRawFd,
    sync::RwLock,
    time::Instant,
};

/// One variant of an operation: runs it and returns the nanoseconds of one call.
pub type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// An operation whose calls follow each other; their mean is one time.
pub fn calls<'a, T>(count: u32, mut call: impl FnMut() -> Result<T> + 'a) -> Measure<'a> {
    Box::new(move || {
        let start = Instant::now();
        for _ in 0..count {
            drop(black_box(call()?));
        }
        Ok(start.elapsed().as_nanos() as f64 / f64::from(count))
    })
}

/// An operation whose result is dropped before the next call and outside of the measured time.
pub fn once<'a, T>(mut call: impl FnMut() -> Result<T> + 'a) -> Measure<'a> {
    Box::new(move || {
        let start = Instant::now();
        let result = call()?;
        let time = start.elapsed().as_nanos() as f64;
        drop(black_box(result));
        Ok(time)
    })
}

/// Variants of one operation, each with its name.
pub type Contest<'a> = Vec<(&'static str, Measure<'a>)>;

/// Measures variants in turns: each of them `times` times in each round. The first round is
/// discarded.
pub fn rotate(
    results: &mut Results,
    operation: &str,
    bytes: usize,
    (rounds, times): (usize, usize),
    mut contest: Contest<'_>,
) -> Result<()> {
    let len = contest.len();
    for round in 0..=rounds {
        for at in 0..len {
            let (variant, measure) = &mut contest[(at + round) % len];
            for _ in 0..times {
                let nanoseconds = measure()?;
                if round > 0 {
                    results.add(variant, operation, bytes, round - 1, nanoseconds);
                }
            }
        }
    }
    Ok(())
}

/// Takes and releases an exclusive lock of the kernel on eight bytes.
#[allow(
    unsafe_code,
    reason = "the kernel's locks on open file descriptions are calls of libc"
)]
fn lock_by_kernel(file: &File) -> Result<()> {
    for kind in [libc::F_WRLCK, libc::F_UNLCK] {
        let lock = libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: 0,
            l_len: 8,
            l_pid: 0,
        };
        // SAFETY: F_OFD_SETLK reads the flock that it is given; the descriptor is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

/// Locks, and opening an array that is open already.
fn small(results: &mut Results, manager: &Manager, place: &Place, rounds: usize) -> Result<()> {
    const CALLS: u32 = 200;
    let array: SharedArray1<f64> = manager.zeros(PAGE / 8)?;
    let handle = array.handle();
    let rwlock = RwLock::new(0u64);
    let poisoned = || "the lock is poisoned";
    let (from, to) = (
        place.directory.join("rename-a"),
        place.directory.join("rename-b"),
    );
    let file = File::create(&from)?;
    let contest: Contest<'_> = vec![
        (
            "ndshm: open of an open array",
            calls(CALLS, || Ok(handle.open::<f64, Ix1>()?)),
        ),
        ("ndshm: read guard", calls(CALLS, || Ok(array.read()?))),
        ("ndshm: write guard", calls(CALLS, || Ok(array.write()?))),
        (
            "std RwLock: read",
            calls(CALLS, || Ok(rwlock.read().map_err(|_| poisoned())?)),
        ),
        (
            "std RwLock: write",
            calls(CALLS, || Ok(rwlock.write().map_err(|_| poisoned())?)),
        ),
        (
            "kernel: F_OFD_SETLK, lock and unlock",
            calls(CALLS, || lock_by_kernel(&file)),
        ),
        ("kernel: rename on tmpfs, there and back", {
            let call = || {
                fs::rename(&from, &to)?;
                fs::rename(&to, &from)?;
                Ok(())
            };
            calls(CALLS, call)
        }),
    ];
    rotate(results, "call", PAGE, (rounds, 5), contest)
}

/// Sum, fill and copy through a guard, and in the heap.
fn elements(
    results: &mut Results,
    manager: &Manager,
    byte_len: usize,
    rounds: usize,
) -> Result<()> {
    let source = Array1::from(bytes::source(byte_len / 8));
    let mut heap = source.clone();
    let array: SharedArray1<f64> = manager.from_ndarray(&source)?;
    let times = ((4 << 20) / byte_len).clamp(1, 20);
    let mut of = |operation: &str, own: Measure<'_>, floor: Measure<'_>| {
        rotate(
            results,
            operation,
            byte_len,
            (rounds, times),
            vec![("ndshm", own), ("heap", floor)],
        )
    };
    of(
        "sum",
        once(|| Ok(array.read()?.sum())),
        once(|| Ok(black_box(&source).sum())),
    )?;
    let fill = || {
        array.write()?.fill(black_box(1.0));
        Ok(())
    };
    let heap_fill = || {
        black_box(&mut heap).fill(black_box(1.0));
        Ok(())
    };
    of("fill", once(fill), once(heap_fill))?;
    let copy = || {
        array.write()?.assign(&source);
        Ok(())
    };
    let heap_copy = || {
        black_box(&mut heap).assign(&source);
        Ok(())
    };
    of("copy", once(copy), once(heap_copy))
}

/// New arrays without filling, from a manager that recycles, after one of the same size was
/// released.
fn recycled(results: &mut Results, place: &Place, byte_len: usize, rounds: usize) -> Result<()> {
    let manager = manager(&place.directory, RECYCLED)?;
    let len = byte_len / 8;
    drop(manager.zeros::<f64, _>(len)?);
    rotate(
        results,
        "create_alone",
        byte_len,
        (rounds, 1),
        vec![("ndshm-recycled", once(|| Ok(manager.empty::<f64, _>(len)?)))],
    )
}

/// Measures all of it.
pub fn run(results: &mut Results, place: &Place, is_quick: bool) -> Result<()> {
    const MIB: usize = 1 << 20;
    let manager = manager(&place.directory, DEFAULT)?;
    eprintln!("locks, guards and elements");
    small(results, &manager, place, if is_quick { 10 } else { 40 })?;
    for (byte_len, rounds) in [(MIB, 40), (16 * MIB, 20), (256 * MIB, 8)] {
        elements(
            results,
            &manager,
            byte_len,
            if is_quick { rounds / 4 } else { rounds },
        )?;
    }
    for (byte_len, rounds) in [(4 << 10, 60), (MIB, 60), (256 * MIB, 9), (1024 * MIB, 5)] {
        if !is_quick || byte_len <= 256 * MIB {
            recycled(
                results,
                place,
                byte_len,
                if is_quick { rounds / 3 } else { rounds },
            )?;
        }
    }
    Ok(())
}
