//! Rates of a transfer and of its peer, from rounds in which both took turns.

use std::time::{Duration, Instant};

/// The time of one call.
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Prints the medians of the rates of `mib` MiB, and of their ratios in a round.
pub fn report(what: &str, peer: &str, mib: usize, ours: &[Duration], theirs: &[Duration]) {
    let rates = |times: &[Duration]| -> Vec<f64> {
        let rate = |time: &Duration| mib as f64 / time.as_secs_f64();
        times.iter().map(rate).collect()
    };
    let ratios = theirs.iter().zip(ours);
    let ratios = ratios.map(|(theirs, ours)| theirs.as_secs_f64() / ours.as_secs_f64());
    println!(
        "{what}: {:.0} MiB/s, {peer} {:.0} MiB/s, ratio {:.2}",
        median(rates(ours)),
        median(rates(theirs)),
        median(ratios.collect())
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
