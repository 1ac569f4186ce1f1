//! Groups of members that take, give back, poison and recover guards on random spans and die
//! anywhere, in random orders, checked against a simple model: `.ci/model shuttle [ITERATIONS]`.

use shuttle as engine;
use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};
use std::time::Instant;

#[path = "../fixture.rs"]
mod fixture;
#[path = "../library.rs"]
mod library;
#[path = "../sync.rs"]
#[allow(
    dead_code,
    reason = "loom checks memory orders and deaths at every access"
)]
mod sync;

mod consumer;
mod expected;
mod groups;
mod member;
mod members;

use groups::{GROUPS, Group};
use library::{format, layout, scope, state};

/// Lanes of the pool, entries of an array's list, and records of poison: few enough for a group to
/// fill them.
const LANES: u32 = 10;
const LIST_LEN: usize = 4;
const RECORDS: usize = 3;

/// Preemptions that the second scheduler makes at random places.
const DEPTH: usize = 3;

fn run(name: &str, scheduler: impl Scheduler + 'static, group: Group) -> usize {
    let start = Instant::now();
    let mut config = Config::new();
    // shuttle treats every order as SeqCst; the models of loom check weaker ones.
    config.silence_warnings = true;
    config.stack_size = 1 << 18;
    let iterations = Runner::new(scheduler, config).run(move || members::run(group));
    println!(
        "{name:64} {iterations:>9} {:>7.1} s",
        start.elapsed().as_secs_f64()
    );
    iterations
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let iterations = arguments.next().map_or(20_000, |iterations| {
        iterations
            .parse()
            .expect("usage: shuttle [ITERATIONS [NAME]]")
    });
    let name = arguments.next().unwrap_or_default();
    let start = Instant::now();
    println!("{:64} {:>9}", "model", "executions");
    let (mut models, mut executions) = (0, 0);
    for (group_name, group) in GROUPS.iter().filter(|(group, _)| group.contains(&name)) {
        let scheduler = RandomScheduler::new(iterations);
        executions += run(&format!("{group_name}, at random"), scheduler, *group);
        let scheduler = PctScheduler::new(DEPTH, iterations);
        executions += run(
            &format!("{group_name}, with {DEPTH} preemptions"),
            scheduler,
            *group,
        );
        models += 1;
    }
    println!(
        "shuttle: {models} models, {executions} executions, {:.0} s",
        start.elapsed().as_secs_f64()
    );
}
