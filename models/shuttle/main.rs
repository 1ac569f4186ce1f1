//! Members that take, give back, poison and recover guards on random views and die anywhere, in
//! random orders, against a simple model: `.ci/model shuttle [ITERATIONS]`.

use shuttle as engine;
use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};
use std::time::Instant;

#[path = "../library.rs"]
mod library;
#[path = "../scene.rs"]
mod scene;
#[path = "../sync.rs"]
#[allow(
    dead_code,
    reason = "memory orders and deaths at every access are loom's business"
)]
mod sync;

mod ledger;
mod lives;

use library::{format, layout, scope, state};
use lives::Community;

/// Slots of the lock table: few enough for a community to fill it.
const SLOTS: usize = 8;

/// Preemptions at random places that the second scheduler makes.
const DEPTH: usize = 3;

fn run(name: &str, scheduler: impl Scheduler + 'static, community: Community) -> usize {
    let start = Instant::now();
    let mut config = Config::new();
    // All that is not SeqCst is taken for it: that is what the models of loom are for.
    config.silence_warnings = true;
    config.stack_size = 1 << 18;
    let iterations = Runner::new(scheduler, config).run(move || lives::run(community));
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
    for (community_name, community) in lives::COMMUNITIES
        .iter()
        .filter(|(community, _)| community.contains(&name))
    {
        let scheduler = RandomScheduler::new(iterations);
        executions += run(
            &format!("{community_name}, at random"),
            scheduler,
            *community,
        );
        let scheduler = PctScheduler::new(DEPTH, iterations);
        executions += run(
            &format!("{community_name}, with {DEPTH} preemptions"),
            scheduler,
            *community,
        );
        models += 1;
    }
    println!(
        "shuttle: {models} models, {executions} executions, {:.0} s",
        start.elapsed().as_secs_f64()
    );
}
