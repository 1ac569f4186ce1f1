//! A million random numbers, two worker processes, no copies.
//!
//! The parent makes an array in shared memory and starts its own program twice, each time with a
//! handle to one half as the argument. Each worker opens its half, which is the same memory, and
//! prints its mean.

use ndarray::{Ix1, s};
use ndshm::{Handle, Manager};
use std::{env, error::Error, process::Command};

const LEN: usize = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        Some(handle) => worker(&handle),
        None => parent(),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let manager = Manager::new()?;
    let xs = manager.from_shape_fn::<f64, _>(LEN, |_| rand::random())?;
    let halves = [xs.slice(s![..LEN / 2])?, xs.slice(s![LEN / 2..])?];
    let start = |handle: Handle| {
        Command::new(env::current_exe()?)
            .arg(handle.to_string())
            .spawn()
    };
    let workers = halves
        .iter()
        .map(|half| start(half.handle()))
        .collect::<Result<Vec<_>, _>>()?;
    for mut worker in workers {
        if !worker.wait()?.success() {
            return Err("a worker failed".into());
        }
    }
    Ok(())
}

fn worker(handle: &str) -> Result<(), Box<dyn Error>> {
    let half = handle.parse::<Handle>()?.open::<f64, Ix1>()?;
    let mean = half.read()?.mean().ok_or("an empty half")?;
    println!(
        "process {}: the mean of {} numbers is {mean:.4}",
        std::process::id(),
        half.len()
    );
    if (mean - 0.5).abs() > 0.002 {
        Err("the mean is not within 0.002 of 0.5".into())
    } else {
        Ok(())
    }
}
