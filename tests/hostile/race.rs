//! Files that change while they are opened.

use super::*;
use ndarray::Ix2;
use std::{
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

#[test]
#[ignore = "runs in a child"]
pub(super) fn child_is_refused() {
    println!(
        "{}",
        common::arguments()[0]
            .parse::<Handle>()
            .unwrap()
            .open::<f64, IxDyn>()
            .unwrap_err()
    );
    common::done();
}

/// A process that writes into published files breaks the assumptions of every process of the store,
/// and gets no promise. But a header is read once and checked as it was read: an array that opens
/// has one of the headers that were whole.
#[test]
fn a_header_that_is_rewritten_while_it_is_opened_is_whole_or_refused() {
    let fixture = Fixture::new();
    let forge = fixture.forge();
    let list = |numbers: [i64; 2]| {
        Some(ciborium::Value::Array(
            numbers.map(ciborium::Value::from).to_vec(),
        ))
    };
    let mut prefix = forge.prefix.clone();
    forge::put(&mut prefix, 12, &[3, 2]);
    let turned = Forge {
        prefix,
        ..forge.with(&[("shape", list([3, 2])), ("strides", list([16, 8]))])
    }
    .file();
    fixture.put(&turned);
    assert_eq!(
        fixture.manager.array::<f64, Ix2>("x").unwrap().shape(),
        [3, 2]
    );
    fixture.put(&fixture.good);
    let (whole, broken, stop) = (
        AtomicBool::new(false),
        AtomicBool::new(false),
        AtomicBool::new(false),
    );
    let (mut opened, mut refused) = ([0, 0], 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&fixture.path).unwrap();
            // Not the state block: it is not the header's.
            let write = |bytes: &[u8]| {
                file.write_all_at(&bytes[..64], 0).unwrap();
                file.write_all_at(&bytes[2176..4096], 2176).unwrap();
            };
            let mut turn = 0usize;
            while !stop.load(Relaxed) {
                turn += 1;
                let from = if turn.is_multiple_of(2) {
                    &fixture.good
                } else {
                    &turned
                };
                if turn.is_multiple_of(5) {
                    // One byte somewhere, and numbers that lead far away.
                    let mut torn = from.clone();
                    let at =
                        [10, 18, 20, 22, 26, 31, 34, 41, 2183, 2190, 2300, 4080][turn / 5 % 12];
                    torn[at] ^= 0xff;
                    write(&torn);
                    broken.store(true, Relaxed);
                }
                write(from);
                whole.store(true, Relaxed);
            }
        });
        while !(whole.load(Relaxed) && broken.load(Relaxed)) {
            std::thread::yield_now();
        }
        for turn in 0..10_000 {
            let array = match turn % 3 {
                0 => fixture.manager.array::<f64, Ix2>("x"),
                1 => fixture.handle.open(),
                _ => read_only(&fixture.handle).open(),
            };
            match array {
                Ok(xs) => {
                    let is_turned = xs.shape() == [3, 2];
                    assert!(is_turned || xs.shape() == [2, 3], "{:?}", xs.shape());
                    assert!(xs.read().unwrap().iter().copied().eq((0..6).map(f64::from)));
                    opened[usize::from(is_turned)] += 1;
                }
                Err(Error::Header { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            if turn % 100 == 0 {
                let _ = fixture.manager.list();
            }
        }
        stop.store(true, Relaxed);
    });
    println!(
        "opened {} and {} times, refused {refused} times",
        opened[0], opened[1]
    );
    assert!(opened.iter().sum::<i32>() > 0);
    assert_eq!(
        fs::read(&fixture.path).unwrap()[152..156],
        [0; 4],
        "every opening that failed was counted out again"
    );
}
