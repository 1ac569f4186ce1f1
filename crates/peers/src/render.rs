//! The document and its plots, made from a run's results.

pub mod tables;

use crate::{
    goals,
    peer::Result,
    plan::SIZES,
    plot::{self, Line, Style},
    results::{Results, Series},
    text,
    variants::{Kind, VARIANTS, Variant},
};
use std::{fs, path::Path};

/// An operation of a turn, as the document presents it.
pub struct Operation {
    /// Its name in the results.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// The measured steps.
    pub what: &'static str,
    /// The variant, and its operation, that the ratios divide by.
    pub floor: (&'static str, &'static str),
}

const fn operation(
    name: &'static str,
    title: &'static str,
    what: &'static str,
    floor: (&'static str, &'static str),
) -> Operation {
    Operation {
        name,
        title,
        what,
        floor,
    }
}

/// Every operation of a turn.
pub const OPERATIONS: &[Operation] = &[
    operation(
        "create",
        "Create and fill",
        "A new array with a copy of a heap buffer, ready for other processes to open.",
        ("raw", "create"),
    ),
    operation(
        "open_first",
        "Open and read one element",
        "In the other process: open, read the first element, close.",
        ("raw", "open_first"),
    ),
    operation(
        "open_sum",
        "Open and read everything",
        "In the other process: open, sum all elements, close.",
        ("raw", "open_sum"),
    ),
    operation(
        "release",
        "Release",
        "In the process that made the array, while no other process has it open: the memory is \
         freed.",
        ("raw", "release"),
    ),
    operation(
        "fresh",
        "Hand over a new array",
        "Create and fill, publish; the other process opens, sums, closes and answers with the sum.",
        ("raw", "fresh"),
    ),
    operation(
        "reopened",
        "Hand over, opened anew",
        "The same array again: the other process opens, sums, closes and answers. Divided by a \
         ping and a sum of the receiver's own heap.",
        ("heap", "steady"),
    ),
    operation(
        "steady",
        "Hand over again",
        "The same array again, while the other process has it open. Divided by a ping and a sum \
         of the receiver's own heap.",
        ("heap", "steady"),
    ),
];

const METHOD: &str = "\
A producer process and a consumer process of each variant do the same work with arrays of `f64`, \
and measure it by their own monotonic clocks. The driver gives each variant its turn. The order \
moves on by one with each round, so that no variant always follows the same other one. A ratio \
is the median over the rounds of the quotient of two medians of the same round; the p99 of a \
ratio is the quotient of the two p99s. Medians and p99s of times are over all calls of all \
rounds; with few calls a p99 is the slowest call. The first of more than two rounds is \
discarded. Before each section 2 GiB are touched and freed. From 16 MiB on, a quarter more than \
an array needs is touched and freed before each call, because a virtual machine gives free pages \
back to its host after some seconds and then has to fetch them again. Every sum is checked. The \
two processes exchange one line on a socket (in Python a message on a `multiprocessing.Pipe`), \
so a hand-over contains a wake-up on both sides: see `ping`.

- A variant that pools its memory (recycled, iceoryx2, mmap-sync with one synchronizer for all) \
creates arrays in existing pages. The others get new pages from the kernel.
- iceoryx2 sends a sample once. So it has no opening anew, *hand over again* looks up no name, \
and *release* drops a loan that was not sent.
- A pickled array does not exist anywhere until it is sent: its *open* receives it, and includes \
the sending.
- joblib and numpy.memmap unmap when the last reference goes, and that is measured. joblib's \
create is a dump through `write`, which maps nothing.
- mmap-sync serializes and checks before it copies: the price of structured values. Its *open* \
takes a reader's lock.
- `shared_memory`, `memmap2` by hand, SharedArray and the variants in Python make sparse files: \
a full tmpfs raises SIGBUS there. ndshm and the floor reserve their space.
";

/// Writes `performance.md` and the plots into a directory.
pub fn write(results: &Results, directory: &Path) -> Result<()> {
    let mut document = head(results);
    document += &tables::beside_the_best(results);
    document += &tables::goals(&goals::all(results));
    document += "\n## Plots\n";
    for operation in OPERATIONS {
        let file = format!("performance-{}.svg", operation.name);
        let lines = lines(results, operation.name);
        if lines.iter().any(|line| line.points.len() > 1) {
            fs::write(directory.join(&file), plot::svg(operation.title, lines))?;
            document += &format!("\n![{}]({file})\n", operation.title);
        }
    }
    document += "\n";
    document += REASONS;
    document += "\n# The details\n\n## Method\n\n";
    document += METHOD;
    document += "\n";
    document += &facts(results);
    document += &tables::variants();
    document += &tables::calls_by_size(results);
    for operation in OPERATIONS {
        document += &tables::turn(results, operation);
    }
    document += &tables::ping(results);
    document += &tables::crowd(results);
    document += &tables::large(results);
    document += &tables::memory(results);
    document += &tables::locks(results);
    document += &tables::bare_calls(results);
    document += &tables::skipped(results);
    Ok(fs::write(
        directory.join("performance.md"),
        text::wrapped(&document),
    )?)
}

/// The title, and what a reader has to expect.
fn head(results: &Results) -> String {
    let time = |operation: &str, bytes: usize| {
        let series = results.of("ndshm", operation, bytes);
        text::time(series.map_or(f64::NAN, Series::median))
    };
    let (kib, mib) = (1 << 10, 1 << 20);
    format!(
        "# Performance\n\n\
         - A small array is made in {}, opened in another process in {} and released in {} \
         (4 KiB). An open one is opened again in {}, without a system call.\n\
         - 1 MiB is made and filled in {}, 256 MiB in {}. To hand an array of 256 MiB over to \
         another process that has it open takes what the other process takes to read it: {}.\n\
         - A guard costs {}. Elements are read and written through it as on the heap.\n\
         - Nothing is copied, whatever the size. The space of an array is reserved when it is \
         made, so no access fails for want of it.\n\
         - Files of arrays up to 1 MiB are kept for a second and used again; larger ones if you \
         ask for it. A program that keeps all arrays that it makes pays for new files: see \
         *ndshm, new files*.\n\
         - Frames that are handed over again and again: \
         [performance-streams.md](performance-streams.md); rows that are appended: \
         [performance-growing.md](performance-growing.md); from Python: \
         [performance-python.md](performance-python.md).\n\n",
        time("create", 4 * kib),
        time("open_first", 4 * kib),
        time("release", 4 * kib),
        text::time(
            results
                .of("ndshm: open of an open array", "call", 4 * kib)
                .map_or(f64::NAN, Series::median)
        ),
        time("create", mib),
        time("create", 256 * mib),
        time("steady", 256 * mib),
        text::time(
            results
                .of("ndshm: read guard", "call", 4 * kib)
                .map_or(f64::NAN, Series::median)
        ),
    )
}

/// The machine and the run.
fn facts(results: &Results) -> String {
    machine(results, "## The run", "crates/peers/run")
}

/// Why goals are missed, and the figures behind decisions. Written by hand, after a run.
const REASONS: &str = include_str!("../reasons.md");

/// The title of a document, and where and when it was measured by a script.
pub fn machine(results: &Results, title: &str, script: &str) -> String {
    let machine = &results.machine;
    let which = match machine.is_quick {
        true => {
            "**These figures are of a quick run, which only shows that the benchmark works: few \
             calls on a busy machine. Do not quote them.**"
        }
        false => "These figures are of a full run.",
    };
    let facts: String = machine
        .facts
        .iter()
        .map(|(name, value)| format!("| {name} | {value} |\n"))
        .collect();
    format!(
        "{title}\n\nWritten by `{script}{}` in {:.0} s; do not edit. \
         {which}\n\n| | |\n| --- | --- |\n{facts}\n",
        if machine.is_quick { " --quick" } else { "" },
        machine.seconds
    )
}

fn lines(results: &Results, operation: &str) -> Vec<Line> {
    let mut peers = 0;
    let line = |variant: &Variant| {
        let style = match variant.kind {
            Kind::Floor => Style::Floor,
            Kind::Own if variant.name != "ndshm" => Style::OwnRecycled,
            Kind::Own => Style::Own,
            Kind::Rust | Kind::Python => {
                peers += 1;
                Style::Peer(peers - 1)
            }
        };
        let points = SIZES
            .iter()
            .filter_map(|&bytes| {
                Some((bytes, results.of(variant.name, operation, bytes)?.median()))
            })
            .collect();
        Line {
            label: variant.label.replace('*', ""),
            style,
            points,
        }
    };
    VARIANTS.iter().map(line).collect()
}
