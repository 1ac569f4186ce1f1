//! Small models of processes that change one state block, run in every order that loom
//! distinguishes: `.ci/model loom [PREEMPTIONS]`.

use loom as engine;
use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};
use sync::Fences;

#[path = "../fixture.rs"]
mod fixture;
#[path = "../library.rs"]
mod library;
#[path = "../sync.rs"]
mod sync;

mod changes;
mod closing;
mod deaths;
mod files;
mod growth;
mod guards;
mod heirs;
mod holds;
mod lanes;
mod payload;
mod rests;
mod ring;
mod table;

use library::{format, layout, scope, state, store, sys};

/// Lanes of the pool, entries of an array's list, and records of poison: so few that the third lane
/// of an array is found by its group, and that the third record needs a lane.
const LANES: u32 = 8;
const LIST_LEN: usize = 2;
const RECORDS: usize = 2;

/// A model, run in every order.
struct Model {
    name: &'static str,
    /// Runs it once. The argument is the access before which its victim dies.
    body: fn(u32),
    /// The fences that stand in for SeqCst; the model runs once with each.
    fences: &'static [Fences],
    /// Bound on the preemptions in one execution; `None` means no bound.
    preemptions: Option<usize>,
    /// Whether it has a victim, which dies before each of its accesses in turn.
    dies: bool,
    /// Whether it leaves out a part of a protocol, and so has to fail.
    fails: bool,
}

/// For a model that needs one order of all SeqCst accesses.
const ORDERED: &[Fences] = &[Fences::BehindStores, Fences::BeforeLoads];
/// For a model that does not: a fence could hide a missing order.
const UNORDERED: &[Fences] = &[Fences::None];

impl Model {
    const fn new(
        name: &'static str,
        body: fn(u32),
        fences: &'static [Fences],
        preemptions: usize,
    ) -> Self {
        let preemptions = if preemptions == ALL {
            None
        } else {
            Some(preemptions)
        };
        Self {
            name,
            body,
            fences,
            preemptions,
            dies: false,
            fails: false,
        }
    }

    const fn with_a_victim(self) -> Self {
        Self { dies: true, ..self }
    }

    const fn that_fails(self) -> Self {
        Self {
            fails: true,
            ..self
        }
    }

    /// Runs a model that has to fail, and prints a line.
    fn expect_failure(&self, bound: Option<usize>) {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let preemptions = [self.preemptions, bound].into_iter().flatten().min();
        sync::set_fences(Fences::None);
        let run = panic::catch_unwind(|| check(self.body, u32::MAX, preemptions));
        panic::set_hook(hook);
        assert!(run.is_err(), "the model does not find what it was made for");
        println!("{:64} {:>4} {:>4} {:>9}", self.name, "", "", "fails");
    }

    /// Runs it in every order, prints a line, and returns the number of executions.
    fn run(&self, bound: Option<usize>) -> u64 {
        if self.fails {
            self.expect_failure(bound);
            return 0;
        }
        let start = Instant::now();
        let (mut executions, mut deaths) = (0, 0);
        let preemptions = [self.preemptions, bound].into_iter().flatten().min();
        let begins = [false, true].map(|others| self.fences.iter().map(move |&f| (f, others)));
        for (fences, others_begin) in begins.into_iter().flatten() {
            sync::set_fences(fences);
            OTHERS_BEGIN.store(others_begin, SeqCst);
            let preemptions = match others_begin {
                true => Some(1),
                false => preemptions,
            };
            let mut step = if self.dies { 0 } else { u32::MAX };
            loop {
                executions += check(self.body, step, preemptions);
                if !sync::take_any_died() {
                    break;
                }
                deaths += 1;
                step += 1;
            }
        }
        let bound = preemptions.map_or("all".into(), |n| n.to_string());
        println!(
            "{:64} {bound:>4} {deaths:>4} {executions:>9} {:>7.1} s",
            self.name,
            start.elapsed().as_secs_f64()
        );
        executions
    }
}

/// Whether the main thread lets each other thread begin before it goes on. Every model runs both
/// ways: loom keeps the last access to a word only, so it does not see that a change of a word
/// races with an earlier read, if the changing thread has read the word in between.
static OTHERS_BEGIN: AtomicBool = AtomicBool::new(false);

/// Starts a thread.
fn spawn<R: 'static>(life: impl FnOnce() -> R + 'static) -> engine::thread::JoinHandle<R> {
    let thread = engine::thread::spawn(life);
    if OTHERS_BEGIN.load(SeqCst) {
        engine::thread::yield_now();
    }
    thread
}

/// No bound on preemptions.
const ALL: usize = usize::MAX;

fn check(body: fn(u32), step: u32, preemptions: Option<usize>) -> u64 {
    let executions = Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    let mut builder = engine::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        body(step);
    });
    executions.load(SeqCst)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let bound = arguments
        .next()
        .map(|bound| bound.parse().expect("usage: loom [PREEMPTIONS [NAME]]"));
    let name = arguments.next().unwrap_or_default();
    let start = Instant::now();
    println!(
        "{:64} {:>4} {:>4} {:>9}",
        "model", "bound", "deaths", "executions"
    );
    let (mut models, mut executions) = (0, 0);
    for model in [
        guards::MODELS,
        lanes::MODELS,
        rests::MODELS,
        changes::MODELS,
        deaths::MODELS,
        files::MODELS,
        growth::MODELS,
        heirs::MODELS,
        closing::MODELS,
        holds::MODELS,
        ring::MODELS,
    ]
    .into_iter()
    .flatten()
    .filter(|model| model.name.contains(&name))
    {
        let run = panic::catch_unwind(|| model.run(bound));
        executions += run.unwrap_or_else(|_| {
            println!("{:64} FAILED", model.name);
            std::process::exit(1);
        });
        models += 1;
    }
    println!(
        "loom: {models} models, {executions} executions, {:.0} s",
        start.elapsed().as_secs_f64()
    );
}
