//! Deaths at every step that has a name, one after the other, while other processes work on the
//! same store and array.
//!
//! `cargo test --features failpoints --test failpoints` lets a process die at each point of the
//! library's list, kills another one that stands there, and lets a third stand there and go on.
//! Then: the others go on; what the dead one held is poison if it wrote, and gone if it did not;
//! what was half-made is never seen, and swept; what was half-deleted is finished by the next one.
//! With `-- --nocapture` it prints a table of points and outcomes.
//!
//! `NDSHM_FAILPOINTS_HITS=5` is the long run: in each scenario, crashes at the first five hits of every
//! point that it comes to. `NDSHM_FAILPOINTS_SCENARIO` plays one scenario alone.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
#![allow(
    unsafe_code,
    reason = "forks, and a look at the kernel's locks, are calls of libc"
)]

mod checks;
#[path = "../common/mod.rs"]
mod common;
mod run;
mod scenarios;
mod setup;
mod victim;
mod workers;

use run::Run;
use scenarios::{Mode, SCENARIOS, Scenario};
use std::collections::BTreeSet;

#[test]
fn whoever_dies_at_any_point_holds_nobody_up_and_leaves_nothing_behind() {
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
        .filter(|name| !run.was_reached(name))
        .collect();
    assert!(missing.is_empty(), "nobody died at {missing:?}");
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
