//! Crashes at every named step, one after the other, while other processes work on the same store
//! and array; those of rings stand in `rings`.
//!
//! `cargo test --features failpoints --test failpoints` lets a process die at each point of the
//! library's list, kills another one that stands there, and lets a third stand there and go on.
//! Then the others go on. The dead process's guard is poison if it wrote, and gone if it did not.
//! Half-made files are never seen, and are swept; the next process finishes a half-done deletion.
//! With `-- --nocapture` the test prints a table of points and outcomes.
//!
//! `NDSHM_FAILPOINTS_HITS=5` is the long run: in each scenario, crashes at the first five hits of
//! every point that it reaches. `NDSHM_FAILPOINTS_SCENARIO` runs one scenario alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "forks, and a look at the kernel's locks, are calls of libc"
)]

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod rings;
mod run;
mod scenarios;
mod setup;
mod victim;
mod workers;

use run::Run;
use scenarios::{Mode, SCENARIOS, Scenario};
use std::collections::BTreeSet;

#[test]
fn a_crash_at_any_point_blocks_no_process_and_leaves_nothing_behind() {
    let root = common::Root::new();
    let mut run = Run::new(root.path());
    let only = std::env::var("NDSHM_FAILPOINTS_SCENARIO").ok();
    let is_wanted = |scenario: &Scenario| only.as_deref().is_none_or(|only| only == scenario.name);
    for scenario in SCENARIOS.iter().filter(|scenario| is_wanted(scenario)) {
        for crash in scenario.crashes {
            run.run(scenario, crash, Mode::Dies);
            if scenario.can_stand {
                run.run(scenario, crash, Mode::Stands);
                run.run(scenario, crash, Mode::GoesOn);
            }
        }
    }
    let most = std::env::var("NDSHM_FAILPOINTS_HITS").map_or(0, |text| text.parse().unwrap());
    SCENARIOS
        .iter()
        .filter(|scenario| is_wanted(scenario) && scenario.is_alone && most > 0)
        .for_each(|scenario| run.run_all(scenario, most));
    run.report();
    if only.is_some() {
        return run.finish();
    }
    let missing: BTreeSet<_> = ndshm::failpoint::NAMES
        .iter()
        .filter(|name| !run.was_reached(name) && !rings::is_of_rings(name))
        .collect();
    assert!(missing.is_empty(), "no process died at {missing:?}");
    run.finish();
}

#[test]
#[ignore = "runs in a child"]
fn child_works() {
    workers::child();
}

#[test]
#[ignore = "runs in a child"]
fn child_dies() {
    victim::child();
}
