//! The document of the streams, made from a run's results.

use super::{
    ALONE, AT_ONCE, CAMERA, CONSUMER, CONSUMERS, CROWD, FRAME, LAST, MISSED, NO_SYSTEM_CALL,
    PRODUCER, PUBLISH, SIZES, SLEEPING, SPINNING, SWITCHES, operation,
    variants::{self, Variant},
};
use crate::{
    goals::{Goal, Goals},
    render::{
        machine,
        tables::{self, cell, table, words},
    },
    results::{Results, Series},
    text,
};

const METHOD: &str = "\
A producer process and one, four or a hundred consumer processes of each variant. All variants \
of a table run once in each round, in another order each time; a ratio is the median over the \
rounds of the quotient of two medians of the same round. The first of more than two rounds is \
discarded. Times are median / p99.

One way is half of the time of a frame there and a frame back, on two streams. The first 64 \
bytes of a frame are written and read, so the size matters only to variants that copy.
";

const SPINNING_TEXT: &str = "\
Both processes spin. The floor is a shared word of 32 bits that each process sets and watches. \
*Before*: the memory for the next frame is taken before the message comes, as a camera does; *in \
the loop*: after it. iceoryx2 is polled in a loop.
";

const SLEEPING_TEXT: &str = "\
Both processes sleep until they are woken. The last column shows it: voluntary context switches \
for each message, from `getrusage`; with less than half of one the variant would have failed. \
One is missing where the answer comes before the process sleeps, and Python's queue has threads \
of its own. The floor is a word with `FUTEX_WAIT` and `FUTEX_WAKE`. mmap-sync has no way to \
wait: it polls without sleeping, and has no part in the comparison of wake-ups. It serializes \
whole frames, and the socket copies them. iceoryx2 notifies its event after each sample. pyshmem \
reads a copy of the frame.
";

const THROUGHPUT_TEXT: &str = "\
The producer copies a whole frame from a buffer of its own, as fast as it can. Each consumer \
sums all of its bytes, and every sum is checked. Consumers sleep where there is no frame. The \
rate is that at which the producer sends, until the last consumer has the last frame. Where the \
newest wins, a fast producer overwrites frames that a consumer has not seen: the consumer misses \
them, and the rate is not what consumers get. mmap-sync is not here: its writer sleeps for a \
second where it finds a reader in its way, and its readers poll. Time of processors, per frame \
that was sent or received. *One process* has the same copies and sums on its heap, one after the \
other.
";

const CROWD_TEXT: &str = "\
A hundred subscriber processes sleep: the producer publishes when the kernel says so of each \
(`/proc/PID/stat`). The time of the call alone, and the time until the last one has read its \
clock with the frame in hand. The futex wakes all by one call. The ring wakes one, which wakes \
two more.
";

const CAMERA_TEXT: &str = "\
Frames of 1080 x 1920 x 3 bytes, 60 in a second. The producer copies each from a buffer of its \
own, and one subscriber sums each: time of processors for a frame, beside that of the copy and \
the sum alone, at the same pace, and at once without pauses.
";

/// All goals.
fn goals(results: &Results) -> Vec<Goal> {
    let mut goals = Goals::new(results);
    for bytes in SIZES {
        let size = text::size(bytes);
        for (ring, iceoryx2, how, bound) in [
            ("ring-early", "iox2-early", "next frame taken before", 3.5),
            (
                "ring-late",
                "iox2-late",
                "next frame taken in the loop",
                5.0,
            ),
        ] {
            let (ring, flag) = ((ring, SPINNING, bytes), ("flag", SPINNING, bytes));
            goals.at_most(
                format!("spinning, {size}, {how} : bare flag"),
                ring,
                flag,
                bound,
            );
            let iceoryx2 = (iceoryx2, SPINNING, bytes);
            goals.at_most(
                format!("spinning, {size}, {how} : iceoryx2, the same"),
                ring,
                iceoryx2,
                1.0,
            );
        }
    }
    for bytes in SIZES {
        let what = format!("sleeping, {} : bare futex", text::size(bytes));
        let (ring, futex) = (("ring", SLEEPING, bytes), ("futex", SLEEPING, bytes));
        goals.at_most(what, ring, futex, 1.2);
    }
    let what = format!("publish with {CROWD} sleeping subscribers");
    goals.time(what, ("ring-crowd", PUBLISH, SIZES[0]), 20e3);
    goals.check(NO_SYSTEM_CALL);
    goals.goals
}

/// Prints each goal.
pub fn print_goals(results: &Results) {
    for goal in goals(results) {
        let met = match goal.is_met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let median = goal.median.unwrap_or_default();
        eprintln!(
            "{met:12} {} {median}: {} ({})",
            goal.bound, goal.what, goal.times
        );
    }
}

/// A row for each variant that has values.
fn rows(variants: &[Variant], cells: impl Fn(&Variant) -> Vec<String>) -> Vec<Vec<String>> {
    let row = |variant: &Variant| {
        let cells = cells(variant);
        let is_empty = cells.iter().all(|cell| cell == "–");
        (!is_empty).then(|| [vec![variant.label.to_owned()], cells].concat())
    };
    variants.iter().filter_map(row).collect()
}

fn sizes() -> Vec<String> {
    SIZES.iter().map(|&bytes| text::size(bytes)).collect()
}

fn one_way(results: &Results, operation: &str, variants: &[Variant], floor: &str) -> String {
    let mut head = [words(&[""]), sizes()].concat();
    let shows_switches = operation == SLEEPING;
    if shows_switches {
        head.push("sleeps".into());
    }
    let cells = |variant: &Variant| {
        let of = |&bytes: &usize| {
            cell(
                results.of(variant.name, operation, bytes),
                results.of(floor, operation, bytes),
            )
        };
        let mut cells: Vec<String> = SIZES.iter().map(of).collect();
        if shows_switches {
            let switches = results.of(variant.name, SWITCHES, SIZES[0]);
            cells.push(switches.map_or_else(dash, |found| text::digits(found.median())));
        }
        cells
    };
    table(&head, rows(variants, cells))
}

fn dash() -> String {
    "–".into()
}

fn time(series: Option<&Series>) -> String {
    series.map_or_else(dash, |found| text::time(found.median()))
}

fn throughput(results: &Results, consumers: usize, bytes: usize) -> String {
    let of = |variant: &Variant, name: &str| {
        results.of(variant.name, &operation(name, consumers), bytes)
    };
    let cells = |variant: &Variant| {
        let rate = of(variant, FRAME).map_or_else(dash, |frame| rate(1e9 / frame.median()));
        let missed = of(variant, MISSED).map_or_else(dash, |missed| {
            format!("{} %", text::digits(missed.median() * 100.0))
        });
        vec![
            rate,
            time(of(variant, PRODUCER)),
            time(of(variant, CONSUMER)),
            missed,
        ]
    };
    let head = words(&["", "frames/s", "producer", "each consumer", "missed"]);
    let title = match consumers {
        1 => format!("{}, one consumer", text::size(bytes)),
        _ => format!("{}, {consumers} consumers", text::size(bytes)),
    };
    format!(
        "\n### {title}\n\n{}",
        table(&head, rows(variants::THROUGHPUT, cells))
    )
}

/// A rate, with thousands.
fn rate(rate: f64) -> String {
    match rate as u64 {
        rate if rate >= 1_000_000 => format!(
            "{},{:03},{:03}",
            rate / 1_000_000,
            rate / 1000 % 1000,
            rate % 1000
        ),
        rate if rate >= 10_000 => format!("{},{:03}", rate / 1000, rate % 1000),
        rate => rate.to_string(),
    }
}

fn crowd(results: &Results) -> String {
    let cells = |variant: &Variant| {
        let of = |operation: &str| results.of(variant.name, operation, SIZES[0]);
        let publish = of(PUBLISH).map_or_else(dash, |found| {
            format!(
                "{} / {}",
                text::time(found.median()),
                text::time(found.quantile(0.9))
            )
        });
        vec![publish, time(of(LAST))]
    };
    let head = words(&["", "publish: median / 90 %", "the last has it"]);
    table(&head, rows(variants::CROWD, cells))
}

fn camera(results: &Results) -> String {
    let of = |variant: &str, name: &str| results.of(variant, name, CAMERA);
    let row = |label: &str, variant: &str, suffix: &str| {
        let [producer, consumer] = [PRODUCER, CONSUMER].map(|name| operation(name, 1) + suffix);
        let ratio = |name: &str| {
            let floor = of(ALONE, name);
            let ratio = of(variant, name)
                .zip(floor)
                .and_then(|(ours, floor)| ours.ratio(floor));
            ratio
                .filter(|_| variant != ALONE)
                .map_or_else(String::new, |ratio| format!(", {} x", text::digits(ratio)))
        };
        vec![
            label.to_owned(),
            time(of(variant, &producer)) + &ratio(&producer),
            time(of(variant, &consumer)) + &ratio(&consumer),
        ]
    };
    let at_once = format!(", {AT_ONCE}");
    let rows = vec![
        row("**ndshm**, producer and subscriber", "ring-camera", ""),
        row("one process, at the same pace", ALONE, ""),
        row("one process, at once", ALONE, &at_once),
    ];
    let missed = of("ring-camera", &operation(MISSED, 1)).map_or(f64::NAN, Series::median);
    format!(
        "{}\nThe subscriber missed {:.1} % of the frames.\n",
        table(&words(&["", "copy", "sum"]), rows),
        missed * 100.0
    )
}

/// The document.
pub fn document(results: &Results) -> String {
    let title = "# Performance of rings";
    let mut document = machine(results, title, "crates/peers/stream");
    document += &tables::goals(&goals(results));
    document += "\n## Method\n\n";
    document += METHOD;
    document += &format!("\n## Latency, spinning\n\n{SPINNING_TEXT}\n");
    document += &one_way(results, SPINNING, variants::SPINNING, "flag");
    document += &format!("\n## Latency, sleeping\n\n{SLEEPING_TEXT}\n");
    document += &one_way(results, SLEEPING, variants::SLEEPING, "futex");
    document += &format!("\n## Throughput\n\n{THROUGHPUT_TEXT}");
    for consumers in CONSUMERS {
        for bytes in SIZES {
            document += &throughput(results, consumers, bytes);
        }
    }
    document += &format!("\n## A crowd\n\n{CROWD_TEXT}\n{}", crowd(results));
    document += &format!("\n## A camera\n\n{CAMERA_TEXT}\n{}", camera(results));
    document += &tables::skipped(results);
    text::wrapped(&document)
}
