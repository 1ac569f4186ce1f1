//! The lists of the live view: rows made from a survey, sorted and filtered. It knows nothing of
//! terminals.

use super::{
    columns::{Column, column},
    guards as locks,
    history::{History, mapped},
    streams,
};
use crate::{
    display::text,
    survey::{ArrayView, StoreView, Survey, guard_kind},
};
use ndshm::{ArrayKind, GuardKind, LockState};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::SystemTime,
};

/// The list on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Arrays,
    Streams,
    Stores,
    Processes,
    Guards,
}

const ARRAYS: &[Column] = &[
    column("NAME", 24, 0),
    column("STORE", 16, 6),
    column("KIND", 7, 5),
    column("DTYPE", 8, 7),
    column("SHAPE", 16, 8),
    column("SIZE", 10, 1),
    column("AGE", 7, 9),
    column("MAPPED", 6, 10),
    column("GUARDS", 18, 3),
    column("WAITS", 5, 4),
    column("STATE", 10, 2),
];
const STREAMS: &[Column] = &[
    column("NAME", 24, 0),
    column("STORE", 16, 7),
    column("KIND", 7, 5),
    column("RATE", 10, 1),
    column("COUNT", 10, 4),
    column("PRODUCER", 24, 8),
    column("SUBSCRIBERS", 11, 6),
    column("LAG", 12, 3),
    column("STATE", 10, 2),
];
const STORES: &[Column] = &[
    column("STORE", 24, 0),
    column("KIND", 10, 6),
    column("ARRAYS", 7, 4),
    column("SIZE", 10, 1),
    column("GROWTH/s", 11, 5),
    column("HISTORY", 16, 2),
    column("MEMBERS", 7, 7),
    column("GUARDS", 18, 8),
    column("WAITS", 5, 9),
    column("STATE", 10, 3),
];
const PROCESSES: &[Column] = &[
    column("PID", 9, 0),
    column("COMMAND", 18, 2),
    column("MAPPED", 11, 1),
    column("GROWTH/s", 11, 4),
    column("FILES", 7, 5),
    column("GUARDS", 20, 3),
];
const GUARDS: &[Column] = &[
    column("VIEW", 30, 0),
    column("STORE", 16, 5),
    column("FOR", 6, 3),
    column("STATE", 18, 1),
    column("PROCESS", 9, 2),
    column("COMMAND", 18, 4),
];

impl List {
    pub(super) fn next(self) -> Self {
        match self {
            List::Arrays => List::Streams,
            List::Streams => List::Stores,
            List::Stores => List::Processes,
            List::Processes => List::Guards,
            List::Guards => List::Arrays,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            List::Arrays => "arrays",
            List::Streams => "rings and growing arrays",
            List::Stores => "stores",
            List::Processes => "processes",
            List::Guards => "guards",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            List::Arrays => ARRAYS,
            List::Streams => STREAMS,
            List::Stores => STORES,
            List::Processes => PROCESSES,
            List::Guards => GUARDS,
        }
    }
}

/// The key by which a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Size,
    Name,
    Age,
    Guards,
    Rate,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Sort::Size => Sort::Name,
            Sort::Name => Sort::Age,
            Sort::Age => Sort::Guards,
            Sort::Guards => Sort::Rate,
            Sort::Rate => Sort::Size,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Sort::Size => "size",
            Sort::Name => "name",
            Sort::Age => "age",
            Sort::Guards => "guards",
            Sort::Rate => "rate",
        }
    }
}

/// The thing that the delete key deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Array(PathBuf),
    Store(PathBuf),
}

/// A line of a list.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) cells: Vec<String>,
    pub(super) is_bad: bool,
    pub(super) victim: Option<Victim>,
    /// Identifies the line when the list is sorted anew: the selection follows it.
    pub(super) key: String,
    /// Groups stay together, in ascending order.
    pub(super) group: u8,
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) created: SystemTime,
    pub(super) guards: usize,
    /// Frames or rows in a second.
    pub(super) rate: f64,
}

/// The lines of a list that contain `filter`, sorted.
pub(super) fn lines(
    survey: &Survey,
    locks: &[(String, LockState)],
    history: &History,
    list: List,
    sort: Sort,
    is_reversed: bool,
    filter: &str,
) -> Vec<Line> {
    let mut lines: Vec<Line> = match list {
        List::Arrays => survey
            .stores
            .iter()
            .flat_map(|store| store.arrays.iter().map(|array| array_line(store, array)))
            .collect(),
        List::Stores => survey
            .stores
            .iter()
            .map(|store| store_line(store, history))
            .collect(),
        List::Streams => streams::lines(survey, history),
        List::Processes => process_lines(survey, history),
        List::Guards => locks::lines(locks),
    };
    let filter = filter.to_lowercase();
    lines.retain(|line| {
        filter.is_empty()
            || line
                .cells
                .iter()
                .any(|cell| cell.to_lowercase().contains(&filter))
    });
    lines.sort_by(|a, b| {
        let order = match sort {
            Sort::Size => b.bytes.cmp(&a.bytes),
            Sort::Name => Ordering::Equal,
            Sort::Age => b.created.cmp(&a.created),
            Sort::Guards => b.guards.cmp(&a.guards),
            Sort::Rate => b.rate.total_cmp(&a.rate),
        };
        let order = order
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.key.cmp(&b.key));
        let order = if is_reversed { order.reverse() } else { order };
        a.group.cmp(&b.group).then(order)
    });
    lines
}

fn array_line(store: &StoreView, array: &ArrayView) -> Line {
    let (info, state) = (&array.info, &array.state);
    let word = match () {
        () if array.is_dead => "dead",
        () if !state.poisoned.is_empty() => "poisoned",
        () if state.is_frozen => "frozen",
        () if state.is_waited_for => "waited for",
        () => "",
    };
    Line {
        cells: vec![
            array.name(),
            store.name(),
            match info.kind {
                ArrayKind::Ring => "ring".into(),
                ArrayKind::Growing => "growing".into(),
                _ => String::new(),
            },
            info.dtype.to_string(),
            text::shape(&info.shape),
            text::bytes(array.allocated),
            text::age(info.created),
            array.mapped.len().to_string(),
            guards([array].into_iter()),
            waits([array].into_iter()),
            word.into(),
        ],
        is_bad: array.is_dead || !state.poisoned.is_empty(),
        victim: Some(Victim::Array(info.path.clone())),
        key: info.id.to_string(),
        group: 0,
        name: array.name(),
        bytes: array.allocated,
        created: info.created,
        guards: state.guards.len(),
        rate: 0.0,
    }
}

fn store_line(store: &StoreView, history: &History) -> Line {
    let kind = if store.is_persistent {
        "persistent"
    } else {
        "ephemeral"
    };
    let word = match () {
        () if store.is_dead() => "dead".into(),
        () if !store.damaged.is_empty() => format!("{} damaged", store.damaged.len()),
        () => String::new(),
    };
    let bytes = store.bytes();
    Line {
        cells: vec![
            store.name(),
            kind.into(),
            store.arrays.len().to_string(),
            text::bytes(bytes),
            history.growth_of_store(store),
            history.bars(store),
            store.members.len().to_string(),
            guards(store.arrays.iter()),
            waits(store.arrays.iter()),
            word,
        ],
        is_bad: store.is_dead() || !store.damaged.is_empty(),
        victim: Some(Victim::Store(store.path.clone())),
        key: store.path.to_string_lossy().into_owned(),
        group: 0,
        name: store.name(),
        bytes,
        created: store
            .arrays
            .iter()
            .map(|array| array.info.created)
            .max()
            .unwrap_or(SystemTime::UNIX_EPOCH),
        guards: store
            .arrays
            .iter()
            .map(|array| array.state.guards.len())
            .sum(),
        rate: 0.0,
    }
}

fn process_lines(survey: &Survey, history: &History) -> Vec<Line> {
    let mut held = HashMap::<u32, BTreeMap<&'static str, usize>>::new();
    for store in &survey.stores {
        for guard in store.arrays.iter().flat_map(|array| &array.state.guards) {
            if let Some(pid) = store.pids.process_of(guard.member) {
                *held
                    .entry(pid)
                    .or_default()
                    .entry(guard_kind(guard.kind))
                    .or_default() += 1;
            }
        }
    }
    let line = |(pid, (bytes, files)): (u32, (u64, usize))| {
        let guards = held.get(&pid);
        Line {
            cells: vec![
                pid.to_string(),
                survey.processes.command(pid),
                text::bytes(bytes),
                history.growth_of_process(pid, bytes),
                files.to_string(),
                guards.map_or(String::new(), words),
            ],
            is_bad: false,
            victim: None,
            key: pid.to_string(),
            group: 0,
            name: survey.processes.command(pid),
            bytes,
            created: SystemTime::UNIX_EPOCH,
            guards: guards.map_or(0, |guards| guards.values().sum()),
            rate: 0.0,
        }
    };
    mapped(survey).into_iter().map(line).collect()
}

/// How many guards are waited for; empty for none.
fn waits<'a>(arrays: impl Iterator<Item = &'a ArrayView>) -> String {
    let guards = arrays.flat_map(|array| &array.state.guards);
    match guards
        .filter(|guard| guard.kind == GuardKind::Waiting)
        .count()
    {
        0 => String::new(),
        number => number.to_string(),
    }
}

/// The guards that are held: 2 read, 1 write.
fn guards<'a>(arrays: impl Iterator<Item = &'a ArrayView>) -> String {
    let mut counts = BTreeMap::new();
    arrays
        .flat_map(|array| &array.state.guards)
        .filter(|guard| guard.kind != GuardKind::Waiting)
        .for_each(|guard| *counts.entry(guard_kind(guard.kind)).or_default() += 1);
    words(&counts)
}

fn words(counts: &BTreeMap<&'static str, usize>) -> String {
    counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect::<Vec<_>>()
        .join(", ")
}
