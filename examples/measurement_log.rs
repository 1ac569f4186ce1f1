//! A measurement that is killed a hundred times and loses no row.
//!
//! The child appends rows to an array that grows, each with its running number, in all of its
//! elements. It is killed at random, without a chance to clean up, and started again: it opens the
//! array by the path of the store and goes on behind the last row. In the end every row is there
//! once, and none is a half.
//!
//! Without arguments the example runs all of it; with a path it is the child.

use ndarray::{Array1, Ix2};
use ndshm::{GrowingArray, Manager, Result};
use std::{
    env,
    error::Error,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const KILLED: u32 = 100;
/// Numbers of a row.
const WIDTH: usize = 1000;
/// Rows that there is room for: address space, not memory.
const MOST: usize = 1 << 30;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        Some(path) => Ok(measure(Path::new(&path))?),
        None => kill_and_resume(),
    }
}

fn log_at(manager: &Manager) -> Result<GrowingArray<u64, Ix2>> {
    manager.options().name("log").open_or_growing(MOST, WIDTH)
}

/// Appends rows until it is killed.
fn measure(path: &Path) -> Result<()> {
    let manager = Manager::open(path)?;
    let log = log_at(&manager)?;
    loop {
        // The length says where to go on.
        let number = log.len() as u64;
        if number.is_multiple_of(2) {
            log.append_row(&Array1::from_elem(WIDTH, number))?;
        } else {
            let mut row = log.reserve(1)?;
            for element in row.iter_mut() {
                *element = number;
            }
            row.commit()?;
        }
    }
}

fn kill_and_resume() -> std::result::Result<(), Box<dyn Error>> {
    let root = tempfile::Builder::new()
        .prefix("ndshm-log-")
        .tempdir_in("/dev/shm")?;
    let path = root.path().join("measurement");
    let manager = Manager::create(&path)?;
    let log = log_at(&manager)?;
    let began = Instant::now();
    for round in 0..KILLED {
        let before = log.len();
        let mut child = Command::new(env::current_exe()?)
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()?;
        let grown = log.wait_grown(before, Duration::from_secs(60));
        // Some microseconds later it is at any of its steps.
        let pause = u64::from(round).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53;
        sleep(Duration::from_micros(pause));
        child.kill()?;
        child.wait()?;
        grown?;
    }
    let rows = log.all()?;
    for (number, row) in rows.outer_iter().enumerate() {
        if row.iter().any(|&element| element != number as u64) {
            return Err(format!("row {number} is wrong: {row}").into());
        }
    }
    println!(
        "killed {KILLED} times in {:.1?}: {} rows, every one once, and none half",
        began.elapsed(),
        rows.shape()[0]
    );
    drop((rows, log));
    manager.close()?;
    Ok(())
}
