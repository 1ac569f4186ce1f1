//! What the looks before the last one saw: rates of frames and rows, growth, and the sizes of
//! stores as a line of bars.

use crate::{
    display::text,
    survey::{ArrayView, StoreView, Survey},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    time::{Duration, Instant},
};

/// Sizes that are kept of a store.
const LOOKS: usize = 16;
const BARS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// The numbers of the looks before, and the sizes of all looks.
#[derive(Default)]
pub(super) struct History {
    stores: HashMap<PathBuf, u64>,
    processes: HashMap<u32, u64>,
    /// Frames or rows by the id of the array, and when they were counted.
    counts: HashMap<String, (u64, Instant)>,
    sizes: HashMap<PathBuf, VecDeque<u64>>,
    took: Duration,
}

impl History {
    /// Remembers the sizes of the first look.
    pub(super) fn of(first: &Survey) -> Self {
        let mut history = Self::default();
        history.remember_sizes(first);
        history
    }

    /// Remembers a look before the next one, which came so much later.
    pub(super) fn advance(&mut self, before: &Survey, took: Duration, next: &Survey) {
        let stores = before.stores.iter();
        self.stores = stores
            .map(|store| (store.path.clone(), store.bytes()))
            .collect();
        self.processes = mapped(before)
            .into_iter()
            .map(|(pid, (bytes, _))| (pid, bytes))
            .collect();
        let arrays = before.stores.iter().flat_map(|store| &store.arrays);
        self.counts = arrays
            .filter_map(|array| {
                let count = array.count()?;
                Some((array.info.id.to_string(), (count, array.counted)))
            })
            .collect();
        self.took = took;
        self.remember_sizes(next);
    }

    fn remember_sizes(&mut self, survey: &Survey) {
        let is_there = |path: &PathBuf| survey.stores.iter().any(|store| store.path == *path);
        self.sizes.retain(|path, _| is_there(path));
        for store in &survey.stores {
            let sizes = self.sizes.entry(store.path.clone()).or_default();
            sizes.push_back(store.bytes());
            if sizes.len() > LOOKS {
                sizes.pop_front();
            }
        }
    }

    /// Frames or rows in a second since the look before; `None` at the first look, and where the
    /// numbers began anew.
    pub(super) fn rate(&self, array: &ArrayView) -> Option<f64> {
        let (before, at) = *self.counts.get(&array.info.id.to_string())?;
        let seconds = array.counted.duration_since(at).as_secs_f64();
        let more = array.count()?.checked_sub(before)?;
        (seconds > 0.0).then(|| more as f64 / seconds)
    }

    /// Bytes that a store grew in each second, with a sign.
    pub(super) fn growth_of_store(&self, store: &StoreView) -> String {
        self.growth(self.stores.get(&store.path), store.bytes())
    }

    /// The same for the bytes that a process has mapped.
    pub(super) fn growth_of_process(&self, pid: u32, bytes: u64) -> String {
        self.growth(self.processes.get(&pid), bytes)
    }

    fn growth(&self, before: Option<&u64>, now: u64) -> String {
        let seconds = self.took.as_secs_f64();
        match before {
            Some(&before) if before != now && seconds > 0.0 => {
                let rate = (now.abs_diff(before) as f64 / seconds) as u64;
                let sign = if now > before { '+' } else { '-' };
                format!("{sign}{}", text::bytes(rate))
            }
            _ => String::new(),
        }
    }

    /// The sizes of a store at the last looks as bars, the newest one last. The lowest bar is the
    /// smallest of these sizes.
    pub(super) fn bars(&self, store: &StoreView) -> String {
        let none = VecDeque::new();
        let sizes = self.sizes.get(&store.path).unwrap_or(&none);
        let least = sizes.iter().copied().min().unwrap_or(0);
        let range = sizes.iter().copied().max().unwrap_or(0) - least;
        let bar = |&size: &u64| {
            let share = u128::from(size - least) * (BARS.len() as u128 - 1);
            BARS[share.checked_div(u128::from(range)).unwrap_or(0) as usize]
        };
        sizes.iter().map(bar).collect()
    }
}

/// Bytes and number of the files of stores that each process has mapped.
pub(super) fn mapped(survey: &Survey) -> BTreeMap<u32, (u64, usize)> {
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
