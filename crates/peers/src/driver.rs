//! Runs the sections: every variant in turn, in another order each round.

use crate::{
    memory::Memory,
    peer::{Place, Result},
    plan::{Job, Section},
    python::Python,
    results::{Occupied, Results, Skipped},
    variants::{Kind, VARIANTS, Variant},
    worker::Worker,
};
use std::time::Instant;

/// Bytes that are touched and freed before a section, because a machine that was idle may have to
/// fetch its free pages again.
const WARMTH: usize = 2 << 30;

/// With more rounds than this, the first one is discarded.
const WARMING: usize = 2;

/// Touches free memory, so that the first variant does not pay for all.
pub fn warm(is_quick: bool) {
    let mut pages = vec![0u8; if is_quick { WARMTH / 8 } else { WARMTH }];
    pages.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(pages);
}

struct Runner {
    variant: &'static Variant,
    worker: Worker,
    job: Job,
}

/// Measures a section and adds it to the results.
pub fn run(section: Section, place: &Place, python: &Python, results: &mut Results) -> Result<()> {
    let is_wanted = |variant: &&Variant| {
        !section.is_narrow
            || matches!(variant.kind, Kind::Floor | Kind::Own)
            || variant.name == "memmap2"
    };
    let job = section.job.line();
    eprintln!("{job}");
    warm(results.machine.is_quick);
    let mut runners = Vec::new();
    for variant in VARIANTS.iter().filter(is_wanted) {
        match Worker::start(variant, place, python) {
            Ok(worker) => runners.push(Runner {
                variant,
                worker,
                job: section.job,
            }),
            Err(error) => skip(results, variant, &job, error.to_string()),
        }
    }
    // The workers start in parallel; wait until all of them have started before measuring the
    // first.
    runners.retain_mut(|runner| match runner.worker.work("ready") {
        Ok(_) => true,
        Err(error) => {
            skip(results, runner.variant, &job, error.to_string());
            false
        }
    });
    // Rounds of an earlier section with the same arrays keep their numbers.
    let earlier = results
        .of("heap", "create", section.job.bytes())
        .map_or(0, |series| series.rounds.len());
    let start = Instant::now();
    for round in 0..section.rounds {
        // The order of the round before, moved on by one, so that a slow variant is not always
        // followed by the same one.
        let mut failed = Vec::new();
        for at in 0..runners.len() {
            let at = (round + at) % runners.len();
            let runner = &mut runners[at];
            match runner.worker.work(&runner.job.line()) {
                // The first round warms caches, allocators and interpreters.
                Ok(_) if round == 0 && section.rounds > WARMING => {}
                Ok(lines) => lines.iter().try_for_each(|line| {
                    note(results, runner.variant, runner.job, earlier + round, line)
                })?,
                Err(error) => {
                    let reason = error.to_string();
                    match runner
                        .job
                        .smaller(section.job)
                        .filter(|_| reason.contains("Too many open files"))
                    {
                        Some(smaller) => {
                            skip(results, runner.variant, &job, reason);
                            runner.job = smaller;
                        }
                        None => failed.push((at, reason)),
                    }
                }
            }
        }
        failed.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, reason) in failed {
            skip(results, runners.remove(at).variant, &job, reason);
        }
        if start.elapsed().as_secs_f64() > section.seconds
            && (round > 0 || section.rounds <= WARMING)
        {
            break;
        }
    }
    eprintln!("    {:.1} s", start.elapsed().as_secs_f64());
    runners
        .iter_mut()
        .for_each(|runner| runner.worker.dismiss());
    Ok(())
}

fn skip(results: &mut Results, variant: &Variant, job: &str, reason: String) {
    eprintln!("    {}: {reason}", variant.name);
    results.skipped.push(Skipped {
        variant: variant.name.into(),
        job: job.into(),
        reason,
    });
}

/// Adds one line of an answer.
fn note(
    results: &mut Results,
    variant: &Variant,
    job: Job,
    round: usize,
    line: &str,
) -> Result<()> {
    let (operation, rest) = line
        .split_once(' ')
        .ok_or_else(|| format!("{}: {line}", variant.name))?;
    if operation == "memory" {
        let (process, figures) = rest
            .split_once(' ')
            .ok_or("a line of memory has no figures")?;
        let memory = Memory::parse(figures)?;
        results.occupied.push(Occupied {
            variant: variant.name.into(),
            process: process.into(),
            bytes: job.bytes(),
            memory,
        });
        return Ok(());
    }
    results.add(
        variant.name,
        operation,
        job.bytes(),
        round,
        rest.parse::<f64>()? / job.arrays() as f64,
    );
    Ok(())
}
