//! The section "stream": frames from a producer process to consumer processes, again and again.
//!
//! `stream` (the script beside `run`) does everything. All variants of a part run once in each
//! round, in another order each time, so that ratios are of figures of the same minute. `part`
//! has the processes that this module starts, and `python/streams.py` those in Python.

mod iceoryx2;
mod link;
mod mmap_sync;
mod ndshm;
mod part;
mod report;
mod socket;
mod team;
mod usage;
mod variants;
mod words;

use crate::{
    machine,
    peer::{Place, Result},
    peers::ndshm::{DEFAULT, manager},
    python::Python,
    results::{Results, Skipped},
};
use link::Options;
use std::{fs, path::Path, time::Instant};
use team::{Run, Team, figure};
use variants::Variant;

const MIB: usize = 1 << 20;
/// Bytes of a frame.
const SIZES: [usize; 3] = [4096, MIB, 6 * MIB];
/// A frame of 1080p in three colours.
const CAMERA: usize = 1080 * 1920 * 3;
/// Nanoseconds from frame to frame of the camera.
const PACE: u64 = 1_000_000_000 / 60;
/// Sleeping subscribers.
const CROWD: usize = 100;
/// Consumers of the throughput.
const CONSUMERS: [usize; 2] = [1, 4];
/// The variant that streams nothing, which is its role too.
const ALONE: &str = "alone";

// The operations of the results.
const SPINNING: &str = "spinning";
const SLEEPING: &str = "sleeping";
const SWITCHES: &str = "switches";
const FRAME: &str = "frame";
const PRODUCER: &str = "producer";
const CONSUMER: &str = "consumer";
const MISSED: &str = "missed";
const AT_ONCE: &str = "at once";
const PUBLISH: &str = "publish";
const LAST: &str = "last";

/// The check of the ring that spins.
const NO_SYSTEM_CALL: &str =
    "a producer and a subscriber that spins make no system call for a frame";

/// Runs a process of a stream, with the arguments that a team gives.
pub fn part(words: &[&str]) -> Result<()> {
    let &[variant, role, bytes, consumers, directory, store] = words else {
        return Err("usage: part VARIANT ROLE BYTES CONSUMERS DIRECTORY STORE".into());
    };
    let options = Options {
        variant: variants::find(variant)?,
        bytes: bytes.parse()?,
        consumers: consumers.parse()?,
        place: Place::new(Path::new(directory)),
        store: store.into(),
    };
    let role = role.into();
    part::run(part::Part { options, role })
}

/// Measures everything and writes the document.
pub fn measure(place: &Place, python: &Path, document: &Path, is_quick: bool) -> Result<()> {
    let start = Instant::now();
    let python = Python::new(python);
    let mut results = Results {
        machine: machine::describe(python.versions_of_streams(), is_quick),
        ..Results::default()
    };
    // Ends with this process, and has the rings of all teams.
    let manager = manager(&place.directory, DEFAULT)?;
    let run = Run {
        place: place.clone(),
        python,
        store: manager.path().into(),
        is_quick,
    };
    let is_quiet = makes_no_system_call(&run)?;
    results.checks.push((NO_SYSTEM_CALL.into(), is_quiet));
    for bytes in SIZES {
        spinning(&run, &mut results, bytes)?;
    }
    for bytes in SIZES {
        sleeping(&run, &mut results, bytes)?;
    }
    for consumers in CONSUMERS {
        for bytes in SIZES {
            throughput(&run, &mut results, bytes, consumers)?;
        }
    }
    crowd(&run, &mut results)?;
    camera(&run, &mut results)?;
    results.machine.seconds = start.elapsed().as_secs_f64();
    results
        .machine
        .facts
        .push(("load after".into(), machine::load()));
    fs::write(document, report::document(&results))?;
    report::print_goals(&results);
    Ok(())
}

/// The figures of one round of a variant: an operation, and its times.
type Round = Vec<(String, Vec<f64>)>;

/// A part of the run: variants that are measured in turns.
struct Section {
    name: String,
    variants: &'static [Variant],
    bytes: usize,
    consumers: usize,
    rounds: usize,
    roles: Vec<String>,
}

impl Section {
    fn run(
        &self,
        run: &Run,
        results: &mut Results,
        measure: impl Fn(&mut Team) -> Result<Round>,
    ) -> Result<()> {
        eprintln!(
            "{}, {} bytes, {} consumers",
            self.name, self.bytes, self.consumers
        );
        let start = Instant::now();
        let mut teams = Vec::new();
        for variant in self.variants {
            let alone = [ALONE.to_owned()];
            let roles = match variant.name {
                ALONE => &alone[..],
                _ => &self.roles,
            };
            match Team::start(run, variant, roles, self.bytes, self.consumers) {
                Ok(team) => teams.push(team),
                Err(error) => self.skip(results, variant, &error.to_string()),
            }
        }
        for round in 0..self.rounds {
            let mut failed = Vec::new();
            for at in 0..teams.len() {
                // The order of the round before, moved on by one.
                let at = (round + at) % teams.len();
                match measure(&mut teams[at]) {
                    // The first round warms caches and interpreters.
                    Ok(_) if round == 0 && self.rounds > 2 => {}
                    Ok(figures) => {
                        for (operation, times) in figures {
                            let name = teams[at].variant.name;
                            times.iter().for_each(|&time| {
                                results.add(name, &operation, self.bytes, round, time);
                            });
                        }
                    }
                    Err(error) => failed.push((at, error.to_string())),
                }
            }
            failed.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            for (at, reason) in failed {
                self.skip(results, teams.remove(at).variant, &reason);
            }
        }
        teams.iter_mut().for_each(Team::dismiss);
        drop(teams);
        eprintln!("    {:.1} s", start.elapsed().as_secs_f64());
        Ok(())
    }

    fn skip(&self, results: &mut Results, variant: &Variant, reason: &str) {
        eprintln!("    {}: {reason}", variant.name);
        results.skipped.push(Skipped {
            variant: variant.name.into(),
            job: format!("{}, {} bytes", self.name, self.bytes),
            reason: reason.into(),
        });
    }
}

/// Names of roles.
fn roles(producer: &str, consumers: usize) -> Vec<String> {
    let consumers = (0..consumers).map(|at| format!("consumer-{at}"));
    std::iter::once(producer.to_owned())
        .chain(consumers)
        .collect()
}

fn two_ends() -> Vec<String> {
    vec!["ping".into(), "pong".into()]
}

/// Has both ends exchange frames.
fn exchange(team: &mut Team, operation: &str, count: usize) -> Result<Round> {
    let jobs = vec![format!("exchange {count}"); 2];
    let answers = team.work(&jobs)?;
    let times = answers[0].get("times").ok_or("the answer has no times")?;
    let switches = answers
        .iter()
        .map(|answer| figure(answer, "switches"))
        .sum::<Result<f64>>()?;
    // Each message is one sleep; a message to a process that is about to sleep is none.
    if !team.variant.is_spinning && switches < 1.0 {
        return Err(format!("it slept {switches:.2} times for two messages").into());
    }
    Ok(vec![
        (operation.into(), times.clone()),
        (SWITCHES.into(), vec![switches / 2.0]),
    ])
}

fn spinning(run: &Run, results: &mut Results, bytes: usize) -> Result<()> {
    let (rounds, count) = if run.is_quick { (3, 1000) } else { (11, 5000) };
    let section = Section {
        name: SPINNING.into(),
        variants: variants::SPINNING,
        bytes,
        consumers: 1,
        rounds,
        roles: two_ends(),
    };
    section.run(run, results, |team| exchange(team, SPINNING, count))
}

fn sleeping(run: &Run, results: &mut Results, bytes: usize) -> Result<()> {
    let (rounds, count) = if run.is_quick { (3, 300) } else { (11, 1000) };
    let section = Section {
        name: SLEEPING.into(),
        variants: variants::SLEEPING,
        bytes,
        consumers: 1,
        rounds,
        roles: two_ends(),
    };
    section.run(run, results, |team| {
        let polls = team.variant.is_spinning;
        let is_slow = team.variant.copies && (bytes >= MIB || polls);
        exchange(team, SLEEPING, if is_slow { count / 20 } else { count })
    })
}

/// The operations of the throughput with so many consumers.
fn operation(name: &str, consumers: usize) -> String {
    format!("{name}, {consumers}")
}

/// Has a producer send frames, and all consumers read them.
fn stream(team: &mut Team, consumers: usize, frames: usize, pace: u64) -> Result<Round> {
    let of = |name: &str, figure: f64| (operation(name, consumers), vec![figure]);
    let count = frames as f64;
    if team.variant.name == ALONE {
        let copy = &team.work(&[format!("copy {frames} {pace}")])?[0];
        let sum = &team.work(&[format!("sum {frames} {pace}")])?[0];
        return Ok(vec![
            of(PRODUCER, figure(copy, "cpu")? / count),
            of(CONSUMER, figure(sum, "cpu")? / count),
        ]);
    }
    let mut jobs = vec![format!("consume {frames}"); consumers + 1];
    jobs[0] = format!("produce {frames} {pace}");
    let answers = team.work(&jobs)?;
    let of_consumers = |name: &str| {
        let figures = answers[1..].iter().map(|answer| figure(answer, name));
        figures.collect::<Result<Vec<f64>>>()
    };
    let ends = of_consumers("end")?;
    let time = ends.into_iter().fold(0.0, f64::max) - figure(&answers[0], "start")?;
    let received: f64 = of_consumers("received")?.iter().sum();
    let cpu: f64 = of_consumers("cpu")?.iter().sum();
    Ok(vec![
        of(FRAME, time / count),
        of(PRODUCER, figure(&answers[0], "cpu")? / count),
        of(CONSUMER, cpu / received),
        of(MISSED, 1.0 - received / count / consumers as f64),
    ])
}

fn throughput(run: &Run, results: &mut Results, bytes: usize, consumers: usize) -> Result<()> {
    let frames = match bytes {
        4096 => 10_000,
        MIB => 400,
        _ => 100,
    };
    let (rounds, frames) = match run.is_quick {
        true => (2, frames / 10),
        false => (5, frames),
    };
    let section = Section {
        name: "throughput".into(),
        variants: variants::THROUGHPUT,
        bytes,
        consumers,
        rounds,
        roles: roles("producer", consumers),
    };
    section.run(run, results, |team| stream(team, consumers, frames, 0))
}

fn crowd(run: &Run, results: &mut Results) -> Result<()> {
    let (rounds, count) = if run.is_quick { (1, 20) } else { (4, 100) };
    let section = Section {
        name: "crowd".into(),
        variants: variants::CROWD,
        bytes: SIZES[0],
        consumers: CROWD,
        rounds,
        roles: roles("producer", CROWD),
    };
    section.run(run, results, |team| {
        let members = team.workers[1..]
            .iter()
            .map(|worker| worker.id().to_string());
        let members = members.collect::<Vec<_>>().join(" ");
        let mut jobs = vec![format!("watch {count}"); CROWD + 1];
        jobs[0] = format!("crowd {count} {members}");
        let mut answer = team.work(&jobs)?.swap_remove(0);
        let mut take = |name: &str| (name.to_owned(), answer.remove(name).unwrap_or_default());
        Ok(vec![take(PUBLISH), take(LAST)])
    })
}

fn camera(run: &Run, results: &mut Results) -> Result<()> {
    let (rounds, frames) = if run.is_quick { (1, 60) } else { (2, 300) };
    let section = Section {
        name: "60 frames per second".into(),
        variants: variants::CAMERA,
        bytes: CAMERA,
        consumers: 1,
        rounds,
        roles: roles("producer", 1),
    };
    section.run(run, results, |team| {
        let mut round = stream(team, 1, frames, PACE)?;
        if team.variant.name == ALONE {
            let at_once = stream(team, 1, frames, 0)?;
            let renamed = |(name, figures)| (format!("{name}, {AT_ONCE}"), figures);
            round.extend(at_once.into_iter().map(renamed));
        }
        Ok(round)
    })
}

/// Whether two processes that may make no system call exchange frames.
fn makes_no_system_call(run: &Run) -> Result<bool> {
    let mut team = Team::start(run, &variants::QUIET[0], &two_ends(), SIZES[0], 1)?;
    for worker in &mut team.workers {
        worker.send("quiet 10000")?;
    }
    let ends = team.workers.iter_mut().map(crate::worker::Worker::end);
    let ends = ends.collect::<Result<Vec<_>>>()?;
    Ok(ends.iter().all(std::process::ExitStatus::success))
}
