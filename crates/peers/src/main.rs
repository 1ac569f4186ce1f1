//! Measures ndshm, other ways to hand arrays to another process, and the floors below all of them,
//! in one run.
//!
//! `run` does everything. `measure` drives a producer and a consumer process for each
//! [variant](variants::VARIANTS) in turns and writes the results to a file. `render` makes
//! `docs/performance.md` and its plots from that file. `producer`, `consumer` and `strict` are the
//! processes that `measure` starts. The variants in Python are in `python/peers.py` and exchange
//! the same lines.
//!
//! `stream` measures frames that are handed over again and again, and writes
//! `docs/performance-streams.md`; `part` is a process that it starts.

mod bytes;
mod calls;
mod consumer;
mod crowd;
mod driver;
mod floors;
mod goals;
mod machine;
mod memory;
mod micro;
mod peer;
mod peers;
mod plan;
mod plot;
mod producer;
mod python;
mod render;
mod results;
mod stats;
mod stream;
mod strict;
mod text;
mod variants;
mod wire;
mod worker;

use peer::{Place, Result};
use results::Results;
use std::{path::Path, time::Instant};
use variants::with_peer;

const USAGE: &str = "usage: ndshm-peers measure PLACE PYTHON RESULTS [--quick] | render RESULTS \
                     DOCUMENTS | stream PLACE PYTHON DOCUMENT [--quick]";

fn measure(place: &Place, python: &Path, output: &Path, is_quick: bool) -> Result<()> {
    let start = Instant::now();
    let python = python::Python::new(python);
    let mut results = Results {
        machine: machine::describe(python.versions(), is_quick),
        ..Results::default()
    };
    driver::warm(is_quick);
    micro::run(&mut results, place, is_quick)?;
    calls::run(&mut results, place, is_quick)?;
    results
        .checks
        .push((goals::NO_SYSTEM_CALL.into(), strict::succeeds(place)?));
    crowd::run(
        &mut results,
        place,
        if is_quick {
            plan::STORE / 10
        } else {
            plan::STORE
        },
        is_quick,
    )?;
    for section in plan::sections(is_quick) {
        driver::run(section, place, &python, &mut results)?;
    }
    results.machine.seconds = start.elapsed().as_secs_f64();
    results.save(output)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let place = |directory: &str| Place::new(Path::new(directory));
    match words[..] {
        ["measure", directory, python, output, ref rest @ ..] => measure(
            &place(directory),
            Path::new(python),
            Path::new(output),
            rest.contains(&"--quick"),
        ),
        ["producer", name, directory] => with_peer(
            name,
            producer::Produce {
                name: name.into(),
                place: place(directory),
            },
        ),
        ["consumer", name, directory, greeting] => with_peer(
            name,
            consumer::Consume {
                place: place(directory),
                greeting: greeting.into(),
            },
        ),
        ["stream", directory, python, document, ref rest @ ..] => stream::measure(
            &place(directory),
            Path::new(python),
            Path::new(document),
            rest.contains(&"--quick"),
        ),
        ["part", ref rest @ ..] => stream::part(rest),
        ["strict", directory] => strict::attempt(&place(directory)),
        ["render", results, documents] => {
            render::write(&Results::load(Path::new(results))?, Path::new(documents))
        }
        _ => Err(USAGE.into()),
    }
}
