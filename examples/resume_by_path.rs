//! A workflow that is killed half-way and resumes from its named arrays.
//!
//! The store has a path, so it outlives the process. Each row is computed into `results`, and then
//! its entry in `done` is set. A run that is killed in a row leaves that row poisoned and its entry
//! at zero. The next run recovers the row and computes it again.
//!
//! Without arguments the example runs the workflow twice: the first run kills itself half-way, and
//! the second one finishes. With a path it is the workflow alone: `resume_by_path PATH [ROWS BEFORE
//! THE KILL]`.

use ndarray::{Axis, Ix1, Ix2};
use ndshm::Manager;
use std::{env, error::Error, path::Path, process::Command, sync::atomic::Ordering::Release};

const ROWS: usize = 10;
const COLUMNS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    match arguments.next() {
        Some(path) => workflow(
            Path::new(&path),
            arguments.next().map(|rows| rows.parse()).transpose()?,
        ),
        None => kill_and_resume(),
    }
}

/// Computes the rows that are not done. After `kill_after` rows the process kills itself in the
/// middle of the next row.
fn workflow(path: &Path, kill_after: Option<usize>) -> Result<(), Box<dyn Error>> {
    let manager = Manager::open_or_create(path)?;
    let results = manager
        .options()
        .name("results")
        .open_or_zeros::<f64, _>((ROWS, COLUMNS))?;
    let done = manager
        .options()
        .name("done")
        .open_or_zeros::<u8, _>(ROWS)?;
    let mut computed = 0;
    for row in 0..ROWS {
        if done.read()?[row] == 1 {
            continue;
        }
        // Like `write`, even if a process died while writing this row.
        let mut values = results.index_axis(Axis(0), row)?.recover()?;
        for (column, value) in values.iter_mut().enumerate() {
            if kill_after == Some(computed) && column == COLUMNS / 2 {
                println!("killed in row {row}, after {computed} rows");
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                )?;
            }
            *value = (row * column) as f64;
        }
        drop(values);
        // Not through a guard on all of `done`: a death would poison it.
        done.atomic()?[row].store(1, Release);
        computed += 1;
    }
    println!(
        "computed {computed} of {ROWS} rows, the sum is {}",
        results.read()?.sum()
    );
    Ok(())
}

fn kill_and_resume() -> Result<(), Box<dyn Error>> {
    // A temporary directory; `close` deletes the store in it.
    let root = tempfile::tempdir()?;
    let path = root.path().join("workflow");
    let run = |arguments: &[&str]| {
        Command::new(env::current_exe()?)
            .arg(&path)
            .args(arguments)
            .status()
    };
    if run(&["4"])?.success() {
        return Err("the first run should have been killed".into());
    }
    if !run(&[])?.success() {
        return Err("the second run failed".into());
    }
    let manager = Manager::open(&path)?;
    let expected: f64 = (0..ROWS * COLUMNS)
        .map(|i| (i / COLUMNS * (i % COLUMNS)) as f64)
        .sum();
    let results = manager.array::<f64, Ix2>("results")?;
    let all_done = manager
        .array::<u8, Ix1>("done")?
        .read()?
        .iter()
        .all(|&done| done == 1);
    if results.read()?.sum() != expected || !all_done {
        return Err("the results are wrong".into());
    }
    manager.close()?;
    Ok(())
}
