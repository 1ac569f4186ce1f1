//! Ratios to a floor or a peer, measured in turns in the same run.
#![allow(dead_code, unreachable_pub, reason = "every bench uses another part")]

use std::time::{Duration, Instant};

/// Whether to run everything once only, as a test: `cargo bench -- --test`.
pub fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// Prints the column heads of [`report`].
pub fn title() {
    println!("{:<44} {:>10} {:>9}  floor", "operation", "median", "ratio");
}

/// The median time of one call of each, measured in turns.
pub fn medians(operations: &mut [&mut dyn FnMut()]) -> Vec<Duration> {
    const ROUNDS: usize = 61;
    // Enough calls to make the time of reading the clock negligible.
    let calls: Vec<u32> = operations
        .iter_mut()
        .map(|operation| {
            (1_000_000 / time(operation, 50).as_nanos().max(1)).clamp(1, 1000) as u32 * 50
        })
        .collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); operations.len()];
    for _ in 0..ROUNDS {
        for ((operation, times), &calls) in operations.iter_mut().zip(&mut times).zip(&calls) {
            times.push(time(operation, calls).div_f64(calls.into()));
        }
    }
    times.iter_mut().for_each(|times| times.sort());
    times.into_iter().map(|times| times[ROUNDS / 2]).collect()
}

fn time(operation: &mut dyn FnMut(), calls: u32) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| operation());
    start.elapsed()
}

pub fn report(what: &str, floor: &str, times: &[Duration]) {
    let ratio = times[0].as_secs_f64() / times[1].as_secs_f64();
    println!(
        "{what:<44} {:>10.3?} {ratio:>7.2} x  {floor} ({:.3?})",
        times[0], times[1]
    );
}
