//! State blocks that another process overwrites all the time, while they are used.

use super::*;
use ndarray::{Ix2, s};
use std::{
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const ROUNDS: usize = 4000;
/// Of the whole of a round, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// The words that an array never recovers from: the overwriting thread leaves them alone.
const FROZEN_AT: u64 = 72;

/// A call that does not wait, or not for ever, returns in time for any contents of the block; and a
/// write stays inside its guard's view.
#[test]
fn a_state_block_that_changes_all_the_time_blocks_no_call_that_does_not_wait() {
    let root = Root::new();
    let manager = root.manager();
    let mut expected = Array2::from_shape_fn((8, 16), |(i, j)| (16 * i + j) as f64);
    let xs = manager.options().name("x").from_ndarray(&expected).unwrap();
    let beside = manager
        .options()
        .name("beside")
        .from_ndarray(&expected)
        .unwrap();
    let handle = xs.handle();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(xs.path())
        .unwrap();
    let whole = || fs::read(xs.path()).unwrap();
    let before = whole();
    let own = u64::from_ne_bytes(before[96..104].try_into().unwrap());
    let lock = fs::File::options()
        .write(true)
        .open(manager.path().join(".lock"))
        .unwrap();
    let id = xs.id().to_string().replace('-', "");
    let key = u64::from_str_radix(&id[16..], 16).unwrap();
    let (stop, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let scribble = || {
        let mut random = 1u64;
        let mut below = |limit: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        while !stop.load(Relaxed) {
            // This process, two dead members, no member, and an invalid one.
            let member = [own, own + 1000, own + 1001, 0, u64::MAX >> below(16)][below(5) as usize];
            // A lane, or a record of poison: their spans have the same order.
            let lane = 128 + 64 * below(62);
            let record = 544 + 32 * below(49);
            let is_lane = below(2) == 0;
            let (to, base, span) = match is_lane {
                true => (&lock, lane, lane + 16),
                false => (&file, record, record + 8),
            };
            let bound = [below(1024), u64::MAX][usize::from(below(8) == 0)];
            let (to, at, word) = match below(9) {
                0..3 => (to, base, below(16) | below(16) << 4 | member << 8),
                3 => (to, span, bound),
                4 => (to, span + 8, bound),
                5 => {
                    let pitch = [8 << 32 | 128, 0, below(1 << 32)][below(3) as usize];
                    (to, span + 16, pitch)
                }
                // The key, which makes the lane the array's; the list, the groups, the used ones.
                6 => (&lock, lane + 8, key),
                7 => {
                    let hint = [256, 384, 136, 144][below(4) as usize] + 8 * below(17);
                    let bits = [below(62) | below(62) << 16, u64::MAX, below(1 << 40)];
                    (&file, hint, bits[below(3) as usize])
                }
                _ => {
                    let word = [80, 88, 96, 128][below(4) as usize];
                    (&file, word, [member, 0, below(1 << 20)][below(3) as usize])
                }
            };
            to.write_all_at(&word.to_ne_bytes(), at).unwrap();
            let (half, value) = (
                [64, 68, 152, 156, 160, 164, 168, 176, 224, 228][below(10) as usize],
                [1, 0, u32::MAX, 0x0102_0304][below(4) as usize],
            );
            assert_ne!(half, FROZEN_AT);
            if below(4) == 0 {
                file.write_all_at(&value.to_ne_bytes(), half).unwrap();
            }
            changes.fetch_add(1, Relaxed);
        }
    };
    let (mut given, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(scribble);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while changes.load(Relaxed) == 0 {
                std::thread::yield_now();
            }
            for round in 0..ROUNDS {
                if round % 3 == 0 {
                    // A block and lanes as they should be, for a moment.
                    file.write_all_at(&before[64..2176], 64).unwrap();
                    lock.write_all_at(&[0; 4096 - 128], 128).unwrap();
                }
                let (began, short, value) =
                    (Instant::now(), Duration::from_micros(200), round as f64);
                let column = xs.slice(s![.., round % 16]).unwrap();
                let outcome = match round % 8 {
                    0 => xs.try_read().map(|guard| assert_eq!(*guard, expected)),
                    1 => xs
                        .read_timeout(short)
                        .map(|guard| assert_eq!(*guard, expected)),
                    2 => column.try_write().map(|mut guard| {
                        guard.fill(value);
                        expected.column_mut(round % 16).fill(value);
                    }),
                    3 => xs.write_timeout(short).map(|mut guard| {
                        guard.fill(value);
                        expected.fill(value);
                    }),
                    4 => handle.open::<f64, Ix2>().and_then(|opened| {
                        opened.try_read().map(|guard| assert_eq!(*guard, expected))
                    }),
                    5 => handle.open_frozen_timeout::<f64, Ix2>(short).map(drop),
                    6 => xs
                        .wait_changed(column.wait_changed(0, short).unwrap_or(0), short)
                        .map(drop),
                    _ => manager.list().map(drop),
                };
                slowest = slowest.max(began.elapsed());
                assert!(
                    began.elapsed() < PATIENCE,
                    "round {round} took {:?}",
                    began.elapsed()
                );
                *(if outcome.is_ok() {
                    &mut given
                } else {
                    &mut refused
                }) += 1;
            }
        }));
        stop.store(true, Relaxed);
        result.unwrap();
    });
    println!(
        "{given} given, {refused} refused amid {changes:?} changes; the slowest took {slowest:.1?}"
    );
    assert!(
        given > 100 && refused > 100,
        "{given} given, {refused} refused"
    );
    let after = whole();
    let data_offset = forge::number(&before, 26, 8);
    assert_eq!(
        (&after[..64], &after[2176..data_offset]),
        (&before[..64], &before[2176..data_offset])
    );
    assert!(
        after[data_offset..]
            .chunks(8)
            .zip(&expected)
            .all(|(bytes, element)| bytes == element.to_ne_bytes())
    );
    assert_eq!(
        beside.try_read().unwrap().sum(),
        (0..128).sum::<i32>() as f64
    );
}
