//! The goals of the library, and whether a run met them.

use crate::{
    plan::{GOAL_SIZE, SMALL},
    results::{Results, Series},
    text,
};

/// The check of `strict`.
pub const NO_SYSTEM_CALL: &str = "an open array is opened without a system call";

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

/// A goal with its bound and the measured values.
pub struct Goal {
    /// The goal in words.
    pub what: String,
    /// The bound, as text.
    pub bound: String,
    /// The median, as text; `None` if this run did not measure it.
    pub median: Option<String>,
    /// The same for the 99th percentile.
    pub p99: String,
    /// The times behind a ratio.
    pub times: String,
    /// Whether it was met; `None` if this run did not measure it.
    pub is_met: Option<bool>,
}

/// A variant, an operation and a size.
pub type Key<'a> = (&'a str, &'a str, usize);

/// Goals that are being collected.
pub struct Goals<'a> {
    results: &'a Results,
    /// Those so far.
    pub goals: Vec<Goal>,
}

impl<'a> Goals<'a> {
    /// None yet.
    pub fn new(results: &'a Results) -> Self {
        Self {
            results,
            goals: Vec::new(),
        }
    }

    fn of(&self, (variant, operation, bytes): Key<'_>) -> Option<&'a Series> {
        self.results.of(variant, operation, bytes)
    }

    /// One series divided by another: at most the bound, or at least.
    fn ratio(
        &mut self,
        what: String,
        (above, below): (Key<'_>, Key<'_>),
        bound: f64,
        is_upper: bool,
    ) {
        let series = self.of(above).zip(self.of(below));
        self.ratio_of(what, series, bound, is_upper);
    }

    fn ratio_of(
        &mut self,
        what: String,
        series: Option<(&Series, &Series)>,
        bound: f64,
        is_upper: bool,
    ) {
        let sign = if is_upper { "≤" } else { "≥" };
        let ratio = series.and_then(|(above, below)| above.ratio(below));
        let p99 = series.map_or_else(String::new, |(above, below)| {
            text::digits(above.p99() / below.p99())
        });
        let times = series.map_or_else(String::new, |(above, below)| {
            format!(
                "{} : {}",
                text::time(above.median()),
                text::time(below.median())
            )
        });
        let is_met = ratio.map(|ratio| {
            if is_upper {
                ratio <= bound
            } else {
                ratio >= bound
            }
        });
        self.goals.push(Goal {
            what,
            bound: format!("{sign} {bound}"),
            median: ratio.map(text::digits),
            p99,
            times,
            is_met,
        });
    }

    /// One series divided by another: at most the bound.
    pub fn at_most(&mut self, what: String, above: Key<'_>, below: Key<'_>, bound: f64) {
        self.ratio(what, (above, below), bound, true);
    }

    fn at_least(&mut self, what: String, above: Key<'_>, below: Key<'_>, bound: f64) {
        self.ratio(what, (above, below), bound, false);
    }

    /// A time that is at most the bound, in nanoseconds.
    pub fn time(&mut self, what: String, key: Key<'_>, bound: f64) {
        let series = self.of(key);
        let median = series.map(Series::median);
        let p99 = series.map_or_else(String::new, |series| text::time(series.p99()));
        let bound_text = format!("≤ {}", text::time(bound));
        let is_met = median.map(|median| median <= bound);
        self.goals.push(Goal {
            what,
            bound: bound_text,
            median: median.map(text::time),
            p99,
            times: String::new(),
            is_met,
        });
    }

    /// A check that the run made.
    pub fn check(&mut self, name: &str) {
        let is_met = self
            .results
            .checks
            .iter()
            .find(|check| check.0 == name)
            .map(|check| check.1);
        let median = is_met.map(|is_met| if is_met { "yes" } else { "no" }.to_owned());
        self.goals.push(Goal {
            what: name.into(),
            bound: "yes".into(),
            median,
            p99: String::new(),
            times: String::new(),
            is_met,
        });
    }
}

/// Every goal, in the order of the document.
pub fn all(results: &Results) -> Vec<Goal> {
    let mut goals = Goals::new(results);
    let size = text::size;

    for bytes in [4 * KIB, MIB, 256 * MIB, GIB] {
        let what = format!(
            "open {} in another process, read one element, close : the system calls",
            size(bytes)
        );
        goals.at_most(
            what,
            ("ndshm", "open_first", bytes),
            ("raw", "open_first", bytes),
            1.3,
        );
    }
    goals.time(
        "open an array that the process has open".into(),
        ("ndshm: open of an open array", "call", 4 * KIB),
        200.0,
    );
    goals.check(NO_SYSTEM_CALL);

    let what =
        "create 4 KiB, touched and published : openat(O_EXCL) and what follows, by hand".into();
    goals.at_most(
        what,
        ("ndshm", "create", 4 * KIB),
        ("raw", "create", 4 * KIB),
        2.0,
    );
    for (bytes, bound) in [
        (64 * KIB, 0.55),
        (GOAL_SIZE, 0.3),
        (16 * MIB, 0.2),
        (256 * MIB, 0.2),
        (GIB, 0.2),
    ] {
        let what = format!(
            "create and fill {} from the heap : mapping and copying by hand",
            size(bytes)
        );
        goals.at_most(
            what,
            ("ndshm", "create", bytes),
            ("memmap2", "create", bytes),
            bound,
        );
    }
    for bytes in [MIB, 16 * MIB, 256 * MIB, GIB] {
        let what = format!(
            "recycled: create and fill {} : memcpy in the heap",
            size(bytes)
        );
        goals.at_most(
            what,
            ("ndshm-recycled", "create", bytes),
            ("heap", "create", bytes),
            1.25,
        );
    }
    for bytes in [4 * KIB, MIB, 256 * MIB, GIB] {
        goals.time(
            format!("recycled: create {} alone", size(bytes)),
            ("ndshm-recycled", "create_alone", bytes),
            8e3,
        );
    }
    goals.time(
        "recycled: release 256 MiB".into(),
        ("ndshm-recycled", "release", 256 * MIB),
        50e3,
    );
    for bytes in [16 * MIB, 256 * MIB, GIB] {
        let what = format!("drop {} : tearing down small pages by hand", size(bytes));
        goals.at_most(
            what,
            ("ndshm", "release", bytes),
            ("raw", "release", bytes),
            0.05,
        );
    }

    for bytes in [4 * KIB, MIB, 16 * MIB, 256 * MIB, GIB] {
        let what = format!(
            "hand over {} again : ping and sum of the receiver's heap",
            size(bytes)
        );
        goals.at_most(
            what,
            ("ndshm", "steady", bytes),
            ("heap", "steady", bytes),
            1.15,
        );
    }
    for bytes in [4 * KIB, MIB, 16 * MIB] {
        let what = format!(
            "hand over {} again : ping of the same two processes, and sum of the receiver's heap",
            size(bytes)
        );
        let floor = results.ping_and_sum("ndshm", bytes);
        goals.ratio_of(
            what,
            results.of("ndshm", "steady", bytes).zip(floor.as_ref()),
            1.15,
            true,
        );
    }
    for (variant, name) in [("ndshm", ""), ("ndshm-recycled", "recycled: ")] {
        for bytes in [16 * MIB, 256 * MIB, GIB] {
            let what = format!(
                "{name}hand over {}, opened anew : ping and sum of the receiver's heap",
                size(bytes)
            );
            goals.at_most(
                what,
                (variant, "reopened", bytes),
                ("heap", "steady", bytes),
                1.0,
            );
        }
    }
    for (operation, how) in [("reopened", "opened anew"), ("steady", "again")] {
        let what = format!("pickling 256 MiB through a pipe : handing it over, {how}");
        goals.at_least(
            what,
            ("py-pickle", operation, 256 * MIB),
            ("ndshm", operation, 256 * MIB),
            50.0,
        );
    }

    for (operation, bytes, bound) in [
        ("sum", MIB, 0.95),
        ("fill", MIB, 0.95),
        ("copy", MIB, 0.95),
        ("sum", 256 * MIB, 1.2),
    ] {
        let what = format!("{operation} of {}, the heap : through a guard", size(bytes));
        goals.at_least(
            what,
            ("heap", operation, bytes),
            ("ndshm", operation, bytes),
            bound,
        );
    }

    for (operation, what) in [("store_create", "create"), ("store_open", "open")] {
        let what = format!("{what} 4 KiB in a store full of arrays : in an empty one");
        goals.at_most(
            what,
            ("full store", operation, SMALL),
            ("empty store", operation, SMALL),
            1.1,
        );
    }
    goals.at_most(
        "sweep that store : readdir, open and pread of each".into(),
        ("ndshm", "sweep", SMALL),
        ("by hand", "sweep", SMALL),
        1.2,
    );

    for (operation, what) in [
        ("create", "create"),
        ("reopened", "transfer"),
        ("release", "release"),
    ] {
        let what = format!("{what} 4 KiB, jztools : ndshm");
        goals.at_least(
            what,
            ("py-jztools", operation, 4 * KIB),
            ("ndshm", operation, 4 * KIB),
            20.0,
        );
    }
    goals.goals
}
