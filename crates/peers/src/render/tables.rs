//! The tables of the document.

use super::{OPERATIONS, Operation};
use crate::{
    calls,
    goals::Goal,
    plan::{LARGE, SIZES, SMALL},
    results::{Results, Series},
    text,
    variants::{VARIANTS, Variant},
};

/// A table: its head, and rows of cells.
pub fn table(head: &[String], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rules: Vec<String> = (0..head.len())
        .map(|at| if at == 0 { "---" } else { "---:" }.to_owned())
        .collect();
    let mut out = line(head) + &line(&rules);
    rows.into_iter().for_each(|row| out += &line(&row));
    out
}

/// The words of a head.
pub fn words(head: &[&str]) -> Vec<String> {
    head.iter().map(|&word| word.to_owned()).collect()
}

/// Goals and whether they were met.
pub fn goals(goals: &[Goal]) -> String {
    let row = |goal: &Goal| {
        let met = match goal.is_met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not in this run",
        };
        vec![
            goal.what.clone(),
            goal.bound.clone(),
            goal.median.clone().unwrap_or_default(),
            goal.p99.clone(),
            goal.times.clone(),
            met.into(),
        ]
    };
    let count = |is_met| {
        goals
            .iter()
            .filter(|goal| goal.is_met == Some(is_met))
            .count()
    };
    let head = words(&["goal", "bound", "median", "p99", "median times", ""]);
    let intro =
        "Ratios, unless a unit is given: the time before the colon divided by the time after it.";
    format!(
        "## Other goals\n\n{} met, {} missed. {intro}\n\n{}",
        count(true),
        count(false),
        table(&head, goals.iter().map(row))
    )
}

/// The peers that share memory without an arrangement of their own.
const PLAIN: [&str; 4] = ["memmap2", "shared_memory", "ipc-channel", "py-SharedArray"];

/// Every operation and size beside the best plain peer of the same run.
pub fn beside_the_best(results: &Results) -> String {
    let best = |operation: &str, bytes: usize| {
        let series = PLAIN
            .iter()
            .filter_map(|peer| results.of(peer, operation, bytes));
        series.min_by(|one, other| one.median().total_cmp(&other.median()))
    };
    let cell = |operation: &str, bytes: usize| {
        let ratio = results
            .of("ndshm", operation, bytes)
            .zip(best(operation, bytes))
            .and_then(|(own, best)| own.ratio(best));
        match ratio {
            Some(ratio) if ratio > 1.0 => format!("**{}**", text::digits(ratio)),
            Some(ratio) => text::digits(ratio),
            None => "–".into(),
        }
    };
    let head = [
        vec![String::new()],
        SIZES.iter().map(|&bytes| text::size(bytes)).collect(),
    ]
    .concat();
    let by_size = OPERATIONS.iter().map(|operation| {
        let cells = SIZES.iter().map(|&bytes| cell(operation.name, bytes));
        [vec![operation.title.to_owned()], cells.collect()].concat()
    });
    let crowd = [
        ("10,000 at once: create and fill", "crowd_create"),
        ("10,000 at once: open", "crowd_open"),
        ("10,000 at once: release", "crowd_release"),
    ];
    let crowd = crowd.map(|(what, operation)| {
        let none = SIZES[1..].iter().map(|_| String::new());
        [
            vec![what.to_owned(), cell(operation, SMALL)],
            none.collect(),
        ]
        .concat()
    });
    format!(
        "## Beside the best plain peer\n\nThe time of ndshm divided by that of the best of memmap2 \
         by hand, shared_memory, ipc-channel and SharedArray: the median over interleaved rounds. \
         The goal is at most 1.0 in every cell; what misses it is bold, and the reason is below.\
         \n\n{}\n",
        table(&head, by_size.chain(crowd))
    )
}

/// The variants, and the calls that do the work.
pub fn variants() -> String {
    table(
        &words(&["variant", "how"]),
        VARIANTS
            .iter()
            .map(|variant| vec![variant.label.into(), variant.how.into()]),
    )
    .replace("---:", "---")
}

/// The number of calls behind the times by size.
pub fn calls_by_size(results: &Results) -> String {
    let count = |&bytes: &usize| {
        let of = |variant: &str| {
            results
                .of(variant, "create", bytes)
                .map_or(0, Series::count)
        };
        (of("raw") > 0).then(|| {
            format!(
                "{} at {} (others {})",
                of("raw"),
                text::size(bytes),
                of("ipc-channel")
            )
        })
    };
    let counts: Vec<String> = SIZES.iter().filter_map(count).collect();
    let what = "Median, p99, and the ratio to the floor. Number of calls of the floors, ndshm and \
                memmap2:";
    format!("\n## Time by size\n\n{what} {}.\n", counts.join(", "))
}

/// Median, p99, and the ratio to a floor.
pub fn cell(series: Option<&Series>, floor: Option<&Series>) -> String {
    let Some(series) = series else {
        return "–".into();
    };
    let ratio = floor
        .and_then(|floor| series.ratio(floor))
        .map_or_else(String::new, |ratio| format!(", {} x", text::digits(ratio)));
    format!(
        "{} / {}{ratio}",
        text::time(series.median()),
        text::time(series.p99())
    )
}

/// The rows of the variants that have values.
fn rows(cells: impl Fn(&Variant) -> Vec<String>) -> Vec<Vec<String>> {
    let row = |variant: &Variant| {
        let cells = cells(variant);
        let is_empty = cells.iter().all(|cell| cell == "–");
        (!is_empty).then(|| [vec![variant.label.to_owned()], cells].concat())
    };
    VARIANTS.iter().filter_map(row).collect()
}

/// An operation at every size.
pub fn turn(results: &Results, operation: &Operation) -> String {
    let (floor, floor_operation) = operation.floor;
    let sizes: Vec<usize> = SIZES
        .into_iter()
        .filter(|&bytes| results.of(floor, floor_operation, bytes).is_some())
        .collect();
    let head = [
        vec![String::new()],
        sizes.iter().map(|&bytes| text::size(bytes)).collect(),
    ]
    .concat();
    let cells = |variant: &Variant| {
        let cell = |&bytes: &usize| {
            cell(
                results.of(variant.name, operation.name, bytes),
                results.of(floor, floor_operation, bytes),
            )
        };
        sizes.iter().map(cell).collect()
    };
    format!(
        "\n### {}\n\n{}\n\n{}",
        operation.title,
        operation.what,
        table(&head, rows(cells))
    )
}

/// Bare system calls, one by one.
pub fn bare_calls(results: &Results) -> String {
    let time = |variant: &str, operation: &str, bytes: usize| {
        results
            .of(variant, operation, bytes)
            .map_or_else(|| "–".into(), |s| text::time(s.median()))
    };
    let head = [
        vec![String::new()],
        calls::SIZES
            .iter()
            .map(|&bytes| text::size(bytes))
            .collect(),
    ]
    .concat();
    let row = |&call: &&str| {
        [
            vec![call.to_owned()],
            calls::SIZES
                .iter()
                .map(|&bytes| time(call, "bare call", bytes))
                .collect(),
        ]
        .concat()
    };
    let rows = calls::CALLS.iter().map(row);
    let what = "The calls that make, name and remove a file of a page and this many bytes on \
                tmpfs, in one process: medians.";
    let sums = ["in a cache", "elsewhere"].map(|variant| time(variant, calls::SUM.0, calls::SUM.1));
    let sum = format!(
        "The sum of {} of the heap takes {} if the bytes were just read, and {} if other bytes \
         were read in between. Every hand-over of new pages contains the difference.",
        text::size(calls::SUM.1),
        sums[0],
        sums[1]
    );
    format!(
        "\n## Bare system calls\n\n{what}\n\n{}\n{sum}\n",
        table(&head, rows)
    )
}

/// A line to the other process and back.
pub fn ping(results: &Results) -> String {
    let cells = |variant: &Variant| vec![cell(results.of(variant.name, "ping", SIZES[0]), None)];
    let what = "A line to the other process and one back: the part that every hand-over contains.";
    format!(
        "\n### Ping\n\n{what}\n\n{}",
        table(&words(&["", "median / p99"]), rows(cells))
    )
}

fn is_smaller(results: &Results, variant: &Variant) -> bool {
    results
        .skipped
        .iter()
        .any(|skipped| skipped.variant == variant.name && skipped.job.starts_with("crowd"))
}

/// Many small arrays.
pub fn crowd(results: &Results) -> String {
    let of = |variant: &Variant, operation: &str| {
        let mark = if is_smaller(results, variant) {
            " *"
        } else {
            ""
        };
        results
            .of(variant.name, operation, SMALL)
            .map_or_else(|| "–".into(), |series| text::time(series.median()) + mark)
    };
    let cells = |variant: &Variant| {
        ["crowd_create", "crowd_open", "crowd_release"]
            .map(|operation| of(variant, operation))
            .to_vec()
    };
    let rows = rows(cells);
    let what = "The producer makes ten thousand arrays of 4 KiB (a thousand in a quick run). The \
                consumer opens all of them and reads one element of each, and then all are \
                released. The times are for one array. A star marks a variant that failed with \
                that many arrays and was measured with a quarter of them; the end of this \
                document gives the reason.";
    format!(
        "\n## Many small arrays\n\n{what}\n\n{}",
        table(&words(&["", "create and fill", "open", "release"]), rows)
    )
}

/// An array that is opened and not read.
pub fn large(results: &Results) -> String {
    let cells = |variant: &Variant| {
        ["large_create", "large_open"]
            .map(|operation| cell(results.of(variant.name, operation, LARGE), None))
            .to_vec()
    };
    let rows = rows(cells);
    let table = if rows.is_empty() {
        "Not in this run.\n".into()
    } else {
        table(
            &words(&["", "create, without filling", "open, one element, close"]),
            rows,
        )
    };
    let what = "A variant that reserves its space when it makes an array pays for 8 GiB at that \
                time. The others pay with every page that is touched, or with a SIGBUS. \
                ipc-channel fills the arrays that it makes.";
    format!("\n## Opening 8 GiB\n\n{what} Median / p99.\n\n{table}")
}

/// The memory of an array.
pub fn memory(results: &Results) -> String {
    let of = |variant: &Variant, process: &str| {
        let is_wanted = |occupied: &&crate::results::Occupied| {
            occupied.variant == variant.name && occupied.process == process
        };
        let memory = results
            .occupied
            .iter()
            .find(is_wanted)
            .map(|occupied| occupied.memory);
        memory.map_or_else(
            || "–".into(),
            |m| [m.rss, m.pss, m.tables].map(text::mebibytes).join(" / "),
        )
    };
    let cells = |variant: &Variant| {
        ["alone", "shared", "consumer"]
            .map(|process| of(variant, process))
            .to_vec()
    };
    let size = results
        .occupied
        .first()
        .map_or_else(String::new, |occupied| text::size(occupied.bytes));
    let what = format!(
        "Growth of the processes by one array of {size}, in MiB: resident / proportional / page \
         tables, from `smaps_rollup` and `VmPTE`. The proportional part counts half of a page \
         that both processes map."
    );
    let head = words(&[
        "",
        "producer, after create",
        "producer, with a consumer",
        "consumer, after reading",
    ]);
    format!("\n## Memory\n\n{what}\n\n{}", table(&head, rows(cells)))
}

/// The measurements within one process.
pub fn locks(results: &Results) -> String {
    let of = |operation: &'static str| {
        results
            .series
            .iter()
            .filter(move |series| series.operation == operation)
    };
    let row = |series: &Series| {
        vec![
            series.variant.clone(),
            text::time(series.median()),
            text::time(series.p99()),
        ]
    };
    let locks = table(&words(&["", "median", "p99"]), of("call").map(row));
    let through = ["sum", "fill", "copy"].into_iter().flat_map(|operation| {
        let own = move |series: &&Series| series.variant == "ndshm";
        of(operation).filter(own).map(move |series| {
            let floor = results.of("heap", operation, series.bytes);
            let ratio = floor
                .and_then(|floor| floor.ratio(series))
                .map_or_else(String::new, text::digits);
            let heap = floor.map_or_else(String::new, |floor| text::time(floor.median()));
            vec![
                format!("{operation}, {}", text::size(series.bytes)),
                text::time(series.median()),
                heap,
                ratio,
            ]
        })
    });
    let through = table(
        &words(&["", "through a guard", "heap", "heap : guard"]),
        through,
    );
    let what = "Median and p99 of means over 200 consecutive calls.";
    format!("\n## Locks and calls\n\n{what}\n\n{locks}\n## Elements through a guard\n\n{through}")
}

/// The jobs that a variant could not do, with the variant's own error.
pub fn skipped(results: &Results) -> String {
    let row = |skipped: &crate::results::Skipped| {
        vec![
            skipped.variant.clone(),
            format!("`{}`", skipped.job),
            skipped.reason.replace('|', "/"),
        ]
    };
    let table = match results.skipped.is_empty() {
        true => "Nothing.\n".into(),
        false => table(
            &words(&["variant", "job", "reason"]),
            results.skipped.iter().map(row),
        )
        .replace("---:", "---"),
    };
    format!("\n## Jobs that a variant could not do\n\n{table}")
}
