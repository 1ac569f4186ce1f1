//! The cost of making, opening, handing over and reading an array.
//!
//! `cargo bench` prints a table of ratios and then a table of times. Each ratio divides a time by a
//! floor that was measured in turns with it in the same run. A floor is the time of the kernel or
//! of ndarray for the minimum of the same job:
//!
//! - create, open: the same system calls by hand, without names, locks, checks or a real header;
//! - crowd: the same operation in a store that holds a hundred arrays instead of ten thousand;
//! - view access: the same operation on a plain ndarray array.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails has nothing to measure"
)]

mod ratios;

use memmap2::MmapOptions;
use ndarray::{Array2, Ix1, Ix2, s};
use ndshm::{Handle, Manager, SharedArray2};
use ratios::{is_test, medians, report};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::{fs::File, hint::black_box, os::unix::fs::FileExt, path::Path};

const PAGE: usize = 4096;

/// An array file by hand: created, its space reserved, its first page written, mapped, unmapped,
/// deleted.
fn create_by_hand(directory: &Path, len: usize) {
    let path = directory.join(".by-hand");
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).unwrap());
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, (PAGE + len) as u64).unwrap();
    file.write_all_at(&[1; PAGE], 0).unwrap();
    black_box(MmapOptions::new().len(PAGE + len).map_raw(&file).unwrap());
    std::fs::remove_file(path).unwrap();
}

/// An array file opened by hand: opened, asked for its size, its first page read, mapped, unmapped.
fn open_by_hand(path: &Path) {
    let file =
        File::from(rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap());
    let len = file.metadata().unwrap().len() as usize;
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0).unwrap();
    black_box((page, MmapOptions::new().len(len).map_raw(&file).unwrap()));
}

fn compare(manager: &Manager, crowded: &Manager) {
    ratios::title();
    for len in [8 << 10, 8 << 20] {
        let what = format!("create and delete, {} KiB", len >> 10);
        let mut create = || drop(black_box(manager.zeros::<u8, _>(len).unwrap()));
        report(
            &what,
            "by hand",
            &medians(&mut [&mut create, &mut || create_by_hand(manager.path(), len)]),
        );
    }
    for len in [8 << 10, 8 << 20, 1 << 30] {
        let array = manager
            .options()
            .name(format!("open-{len}"))
            .zeros::<u8, _>(len)
            .unwrap();
        let (handle, path) = (array.handle(), array.path().to_path_buf());
        drop(array);
        let what = format!("open and unmap, {} KiB", len >> 10);
        let mut open = || drop(black_box(handle.open::<u8, Ix1>().unwrap()));
        report(
            &what,
            "by hand",
            &medians(&mut [&mut open, &mut || open_by_hand(&path)]),
        );
        manager.remove(&format!("open-{len}")).unwrap();
    }

    let stay = |manager: &Manager| {
        manager
            .options()
            .name("stay")
            .zeros::<u8, _>(PAGE)
            .unwrap()
            .handle()
    };
    let (few, many) = (stay(manager), stay(crowded));
    let mut open =
        [&few, &many].map(|handle| move || drop(black_box(handle.open::<u8, Ix1>().unwrap())));
    let [open_few, open_many] = &mut open;
    report(
        "open, among 10,000 arrays",
        "among the first hundred",
        &medians(&mut [open_many, open_few]),
    );
    let mut create = [manager, crowded]
        .map(|manager| move || drop(black_box(manager.zeros::<u8, _>(PAGE).unwrap())));
    let [create_few, create_many] = &mut create;
    report(
        "create and delete, among 10,000 arrays",
        "among the first hundred",
        &medians(&mut [create_many, create_few]),
    );

    let array: SharedArray2<f64> = manager.zeros((100, 100)).unwrap();
    let mut plain = Array2::<f64>::zeros((100, 100));
    let mut slice = || drop(black_box(array.slice(s![10..90;2, ..;-1]).unwrap()));
    report(
        "slice of a slice",
        "ndarray's",
        &medians(&mut [&mut slice, &mut || {
            _ = black_box(plain.slice(s![10..90;2, ..;-1]))
        }]),
    );
    let mut sum = || _ = black_box(array.read().unwrap().sum());
    report(
        "read guard and sum of 10,000 f64",
        "ndarray's sum",
        &medians(&mut [&mut sum, &mut || _ = black_box(plain.sum())]),
    );
    let mut touch = || array.write().unwrap()[[3, 4]] += 1.0;
    report(
        "write guard and one element",
        "ndarray's element",
        &medians(&mut [&mut touch, &mut || black_box(&mut plain)[[3, 4]] += 1.0]),
    );
}

/// Operations without a floor, measured in turns; as a test, each is called once.
fn times(manager: &Manager) {
    let array = manager
        .options()
        .name("opened")
        .zeros::<f64, _>((100, 100))
        .unwrap();
    let view = array.slice(s![10..90;2, ..;-1]).unwrap();
    let handle = view.handle();
    let mut create = || drop(black_box(manager.zeros::<u8, _>(8 << 10).unwrap()));
    let mut open = || drop(black_box(handle.open::<f64, Ix2>().unwrap()));
    let mut text = || {
        drop(black_box(
            view.handle().to_string().parse::<Handle>().unwrap(),
        ))
    };
    let mut binary = || {
        let bytes = postcard::to_allocvec(&view.handle()).unwrap();
        drop(black_box(postcard::from_bytes::<Handle>(&bytes).unwrap()));
    };
    let mut slice = || drop(black_box(array.slice(s![10..90;2, ..;-1]).unwrap()));
    let mut read = || drop(black_box(array.read().unwrap()));
    let mut write = || drop(black_box(array.write().unwrap()));
    let mut operations: [(&str, &mut dyn FnMut()); 7] = [
        ("create and delete, 8 KiB", &mut create),
        ("open a handle, array open in the process", &mut open),
        ("handle to text and back", &mut text),
        ("handle to postcard and back", &mut binary),
        ("slice", &mut slice),
        ("read guard", &mut read),
        ("write guard", &mut write),
    ];
    if is_test() {
        operations.iter_mut().for_each(|(_, operation)| operation());
    } else {
        let names = operations.each_ref().map(|(name, _)| *name);
        let medians = medians(&mut operations.map(|(_, operation)| operation));
        println!("\n{:<44} {:>10}", "operation", "median");
        for (name, median) in names.iter().zip(medians) {
            println!("{name:<44} {median:>10.3?}");
        }
    }
    drop(array);
    drop(view);
    manager.remove("opened").unwrap();
}

fn main() {
    let (manager, crowded) = (Manager::new().unwrap(), Manager::new().unwrap());
    let crowd: Vec<_> = (0..100)
        .map(|_| manager.zeros::<u8, _>(PAGE).unwrap())
        .collect();
    let large_crowd: Vec<_> = (0..10_000)
        .map(|_| crowded.zeros::<u8, _>(PAGE).unwrap())
        .collect();
    if !is_test() {
        compare(&manager, &crowded);
    }
    times(&manager);
    drop((crowd, large_crowd));
}
