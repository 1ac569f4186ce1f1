//! The rate of a checkpoint into a directory and of a restore, beside `cp` of the same file:
//! `cargo bench --features zarr --bench checkpoint [-- DIRECTORY [MIB]]`. Both sides flush the
//! directory's file system. Rounds are interleaved; the medians of the rates and of the ratios of a
//! round are printed.

#[path = "ratios/rates.rs"]
#[allow(unreachable_pub, reason = "several benches use it")]
mod rates;

use ndshm::{Checkpoint, Manager};
use rates::{report, timed};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROUNDS: usize = 7;

fn cp(from: &Path, to: &Path) {
    let status = Command::new("cp").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()));
}

fn sync(path: &Path) {
    let status = Command::new("sync").arg("-f").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_test = arguments.iter().any(|word| word == "--test");
    let mut words = arguments.iter().filter(|word| !word.starts_with("--"));
    let parent = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: usize = words.next().map_or(Ok(1024), |text| text.parse())?;
    let (mib, rounds) = if is_test { (1, 1) } else { (mib, ROUNDS) };
    let scratch = tempfile::tempdir_in(parent)?;
    let manager = Manager::new()?;
    let options = manager.options().name("xs");
    let xs = options.from_shape_fn::<u64, _>(mib << 17, |i| i as u64)?;
    let (place, copy) = (scratch.path().join("place"), scratch.path().join("copy"));
    let back = manager
        .path()
        .with_file_name(format!("copy-{}", std::process::id()));
    let (mut written, mut copied) = (Vec::new(), Vec::new());
    let (mut read, mut copied_back) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        drop(fs::remove_dir_all(&place));
        drop(fs::remove_file(&copy));
        sync(scratch.path());
        copied.push(timed(|| {
            cp(xs.path(), &copy);
            sync(scratch.path());
        }));
        let mut outcome = None;
        written.push(timed(|| {
            outcome = Some(Checkpoint::new().to_directory(&manager, &place));
        }));
        if let Some(outcome) = outcome {
            outcome?;
        }
        copied_back.push(timed(|| cp(&copy, &back)));
        fs::remove_file(&back)?;
        let other = Manager::new()?;
        let mut outcome = None;
        read.push(timed(|| outcome = Some(other.restore(&place))));
        if let Some(outcome) = outcome {
            outcome?;
        }
    }
    report("checkpoint", "cp", mib, &written, &copied);
    report("restore", "cp", mib, &read, &copied_back);
    Ok(())
}
