//! The lists of the live view: rows made from a survey, sorted and filtered. It knows nothing of
//! terminals.

use crate::{
    display::text,
    survey::{ArrayView, StoreView, Survey, guard_kind},
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// The list on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Arrays,
    Stores,
    Processes,
}

impl List {
    pub(super) fn next(self) -> Self {
        match self {
            List::Arrays => List::Stores,
            List::Stores => List::Processes,
            List::Processes => List::Arrays,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            List::Arrays => "arrays",
            List::Stores => "stores",
            List::Processes => "processes",
        }
    }

    pub(super) fn header(self) -> &'static [&'static str] {
        match self {
            List::Arrays => &[
                "NAME", "STORE", "DTYPE", "SHAPE", "SIZE", "AGE", "MAPPED", "GUARDS", "STATE",
            ],
            List::Stores => &[
                "STORE", "KIND", "ARRAYS", "SIZE", "GROWTH/s", "MEMBERS", "GUARDS", "STATE",
            ],
            List::Processes => &["PID", "COMMAND", "MAPPED", "GROWTH/s", "FILES", "GUARDS"],
        }
    }

    /// The widths of the columns; the last one takes the rest.
    pub(super) fn widths(self) -> &'static [u16] {
        match self {
            List::Arrays => &[24, 20, 8, 16, 10, 7, 6, 18, 12],
            List::Stores => &[30, 11, 7, 10, 11, 7, 18, 12],
            List::Processes => &[9, 18, 11, 11, 7, 20],
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
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Sort::Size => Sort::Name,
            Sort::Name => Sort::Age,
            Sort::Age => Sort::Guards,
            Sort::Guards => Sort::Size,
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Sort::Size => "size",
            Sort::Name => "name",
            Sort::Age => "age",
            Sort::Guards => "guards",
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
    name: String,
    bytes: u64,
    created: SystemTime,
    guards: usize,
}

/// Bytes of each store and process at the previous survey, to compute their growth.
#[derive(Default)]
pub(super) struct Before {
    stores: HashMap<PathBuf, u64>,
    processes: HashMap<u32, u64>,
    took: Duration,
}

impl Before {
    pub(super) fn of(survey: &Survey, took: Duration) -> Self {
        let stores = survey
            .stores
            .iter()
            .map(|store| (store.path.clone(), store.bytes()))
            .collect();
        let processes = mapped(survey)
            .into_iter()
            .map(|(pid, (bytes, _))| (pid, bytes))
            .collect();
        Self {
            stores,
            processes,
            took,
        }
    }

    /// Bytes each second, with a sign.
    fn growth(&self, before: Option<&u64>, now: u64) -> String {
        let seconds = self.took.as_secs_f64();
        match before {
            Some(&before) if before != now && seconds > 0.0 => {
                let rate = (now.abs_diff(before) as f64 / seconds) as u64;
                format!(
                    "{}{}",
                    if now > before { '+' } else { '-' },
                    text::bytes(rate)
                )
            }
            _ => String::new(),
        }
    }
}

/// The lines of a list that contain `filter`, sorted.
pub(super) fn lines(
    survey: &Survey,
    before: &Before,
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
            .map(|store| store_line(store, before))
            .collect(),
        List::Processes => process_lines(survey, before),
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
        };
        let order = order
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| a.key.cmp(&b.key));
        if is_reversed { order.reverse() } else { order }
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
            info.dtype.to_string(),
            text::shape(&info.shape),
            text::bytes(array.allocated),
            text::age(info.created),
            array.mapped.len().to_string(),
            guards([array].into_iter()),
            word.into(),
        ],
        is_bad: array.is_dead || !state.poisoned.is_empty(),
        victim: Some(Victim::Array(info.path.clone())),
        key: info.id.to_string(),
        name: array.name(),
        bytes: array.allocated,
        created: info.created,
        guards: state.guards.len(),
    }
}

fn store_line(store: &StoreView, before: &Before) -> Line {
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
            before.growth(before.stores.get(&store.path), bytes),
            store.members.len().to_string(),
            guards(store.arrays.iter()),
            word,
        ],
        is_bad: store.is_dead() || !store.damaged.is_empty(),
        victim: Some(Victim::Store(store.path.clone())),
        key: store.path.to_string_lossy().into_owned(),
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
    }
}

fn process_lines(survey: &Survey, before: &Before) -> Vec<Line> {
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
                before.growth(before.processes.get(&pid), bytes),
                files.to_string(),
                guards.map_or(String::new(), words),
            ],
            is_bad: false,
            victim: None,
            key: pid.to_string(),
            name: survey.processes.command(pid),
            bytes,
            created: SystemTime::UNIX_EPOCH,
            guards: guards.map_or(0, |guards| guards.values().sum()),
        }
    };
    mapped(survey).into_iter().map(line).collect()
}

/// Bytes and number of the files of stores that each process has mapped.
fn mapped(survey: &Survey) -> BTreeMap<u32, (u64, usize)> {
    let mut mapped = BTreeMap::<u32, (u64, usize)>::new();
    for part in survey
        .stores
        .iter()
        .flat_map(|store| &store.arrays)
        .flat_map(|array| &array.mapped)
    {
        let entry = mapped.entry(part.pid).or_default();
        *entry = (entry.0 + part.bytes, entry.1 + 1);
    }
    mapped
}

/// 2 read, 1 write, 1 waiting.
fn guards<'a>(arrays: impl Iterator<Item = &'a ArrayView>) -> String {
    let mut counts = BTreeMap::new();
    arrays
        .flat_map(|array| &array.state.guards)
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
