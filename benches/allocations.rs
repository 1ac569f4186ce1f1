//! The number of allocations of each operation on an array, in the steady state: the smallest of
//! several calls.
//!
//! `cargo bench --bench allocations -- --where` prints the stack of each allocation as well; with
//! `CARGO_PROFILE_BENCH_DEBUG=line-tables-only` it has lines.
#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use ndarray::{Ix1, aview1, s};
use ndshm::{Builder, Handle, Manager, Scope, SharedArray1};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
    hint::black_box,
};

const LEN: usize = 512;
/// Calls before those that count.
const WARM_UP: usize = 8;

thread_local! {
    /// The allocations of this thread since it began to count.
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
    static SHOWS_PLACES: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note() {
    let Some(count) = COUNT.get() else { return };
    if SHOWS_PLACES.get() {
        // What the stack itself allocates does not count.
        COUNT.set(None);
        println!("{}", Backtrace::force_capture());
    }
    COUNT.set(Some(count + 1));
}

// SAFETY: every request goes to the system's allocator as it came; the counts lie in thread-local
// cells, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `realloc`, which is the same; all memory is the
        // system's.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same; all memory is the
        // system's.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Counts the allocations of `operation` on what `prepare` gives, and prints the smallest number.
fn report<T, R>(what: &str, mut prepare: impl FnMut() -> T, mut operation: impl FnMut(T) -> R) {
    let shows_places = std::env::args().any(|argument| argument == "--where");
    let mut count = || {
        let prepared = prepare();
        COUNT.set(Some(0));
        let result = black_box(operation(prepared));
        let count = COUNT.take().unwrap();
        drop(result);
        count
    };
    let least = (0..WARM_UP).map(|_| count()).min().unwrap();
    if shows_places {
        println!("== {what}");
        SHOWS_PLACES.set(true);
        count();
        SHOWS_PLACES.set(false);
    }
    println!("{what:<60} {least:>3}");
}

fn main() {
    let root = tempfile::tempdir_in("/dev/shm").unwrap();
    let manager = |builder: Builder| builder.root(root.path()).create().unwrap();
    let (pooled, fresh) = (
        manager(Manager::builder()),
        manager(Manager::builder().cache(0).recycle(0)),
    );
    let elements = vec![1.0; LEN];
    let from = |manager: &Manager| manager.from_ndarray(&aview1(&elements)).unwrap();
    let nothing = || ();

    report("create from an array, in a kept file", nothing, |()| {
        from(&pooled)
    });
    report("create from an array, new file", nothing, |()| from(&fresh));
    let zeros = |()| fresh.zeros::<f64, _>(LEN).unwrap();
    report("create zeros, new file", nothing, zeros);
    let mut number = 0;
    let name = || {
        number += 1;
        format!("name-{number}")
    };
    report("create zeros with a name", name, |name| {
        fresh.options().name(&name).zeros::<f64, _>(LEN).unwrap()
    });
    report("drop, file kept", || from(&pooled), drop);
    report("drop, file deleted", || from(&fresh), drop);

    // The file outlives the array here, so an opening finds it closed in this process.
    let closed = || {
        let options = fresh.options().scope(Scope::Store);
        options.from_ndarray(&aview1(&elements)).unwrap().handle()
    };
    let open = |handle: Handle| handle.open::<f64, Ix1>().unwrap();
    report("open, not seen before", closed, open);
    let array = from(&pooled);
    report("open, open in the process", || array.handle(), open);
    report("handle", nothing, |()| array.handle());
    report(
        "handle to text",
        || array.handle(),
        |handle| handle.to_string(),
    );
    let text = array.handle().to_string();
    report("handle from text", nothing, |()| {
        text.parse::<Handle>().unwrap()
    });
    let slice = |array: &SharedArray1<f64>| array.slice(s![2..8]).unwrap();
    report("slice", nothing, |()| slice(&array));
    report("read guard", nothing, |()| array.read().unwrap()[0]);
    report("write guard", nothing, |()| array.write().unwrap()[0] = 1.0);
}
