//! The page: gauges of each root and each store, from the answers of `ls --json`.
//!
//! Those of other users come from processes with their rights, so any value may be missing or
//! wrong: it counts as 0 then, and never ends the page.

use crate::failure::{Code, Failure};
use prometheus::{GaugeVec, Opts, Registry, TextEncoder};
use serde_json::Value;
use std::time::Duration;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The labels of a root's figures, and of a store's.
const OF_ROOT: &[&str] = &["user", "root"];
const OF_STORE: &[&str] = &["user", "root", "store"];

/// A page that is filled root by root.
pub(super) struct Page {
    registry: Registry,
    is_of_roots: bool,
    /// The gauges of `ROOT_FIGURES` and of `STORE_FIGURES`, in their order.
    of_roots: Vec<GaugeVec>,
    of_stores: Vec<GaugeVec>,
    /// The guards of a store, with their kind.
    guards: GaugeVec,
    failures: prometheus::Gauge,
    seconds: prometheus::Gauge,
}

fn entries(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn flag(value: &Value) -> f64 {
    f64::from(u8::from(value.as_bool().unwrap_or_default()))
}

fn count(value: &Value) -> f64 {
    entries(value).len() as f64
}

/// How many arrays of a store fulfil a condition.
fn arrays(store: &Value, condition: impl Fn(&Value) -> bool) -> f64 {
    let meant = entries(&store["arrays"]).iter();
    meant.filter(|array| condition(array)).count() as f64
}

/// How many guards of a store are of a kind, in the words of `ls --json`.
fn guards(store: &Value, kind: &str) -> f64 {
    let guards = entries(&store["arrays"])
        .iter()
        .flat_map(|array| entries(&array["guards"]));
    guards.filter(|guard| guard["kind"] == kind).count() as f64
}

/// A figure of a root or of a store: its name, its line of help, and its value by the JSON.
struct Figure(&'static str, &'static str, fn(&Value) -> f64);

/// The figures of a root. Names and units as Prometheus wants them.
const ROOT_FIGURES: &[Figure] = &[
    Figure(
        "ndshm_file_system_size_bytes",
        "Bytes of the file system of the root.",
        |root| number(&root["file_system"]["total"]),
    ),
    Figure(
        "ndshm_file_system_available_bytes",
        "Free bytes of the file system of the root.",
        |root| number(&root["file_system"]["available"]),
    ),
    Figure("ndshm_stores", "Stores of the root.", |root| {
        count(&root["stores"])
    }),
    Figure(
        "ndshm_released_bytes",
        "Bytes of released arrays that processes have mapped.",
        |root| {
            let files = entries(&root["released_but_mapped"]).iter();
            files.map(|file| number(&file["bytes"])).sum()
        },
    ),
];

/// The figures of a store.
const STORE_FIGURES: &[Figure] = &[
    Figure(
        "ndshm_store_bytes",
        "Bytes that the array files of the store occupy.",
        |store| number(&store["bytes"]),
    ),
    Figure("ndshm_store_arrays", "Arrays of the store.", |store| {
        count(&store["arrays"])
    }),
    Figure(
        "ndshm_store_members",
        "Living processes that are members of the store.",
        |store| count(&store["members"]),
    ),
    Figure(
        "ndshm_store_persistent",
        "1 if the store stays when its processes are gone.",
        |store| flag(&store["persistent"]),
    ),
    Figure(
        "ndshm_store_dead",
        "1 if all its processes are gone and a sweep deletes it.",
        |store| flag(&store["dead"]),
    ),
    Figure(
        "ndshm_store_dead_bytes",
        "Bytes of arrays that a sweep deletes, because their owners are gone.",
        |store| {
            let dead = entries(&store["arrays"]).iter();
            let dead = dead.filter(|array| array["dead"] == true);
            dead.map(|array| number(&array["allocated"])).sum()
        },
    ),
    Figure(
        "ndshm_store_waiters",
        "Threads that wait for a guard.",
        |store| guards(store, "waiting"),
    ),
    Figure(
        "ndshm_store_poisoned_arrays",
        "Arrays that a process left half written.",
        |store| arrays(store, |array| !entries(&array["poisoned"]).is_empty()),
    ),
    Figure(
        "ndshm_store_damaged_files",
        "Array files that cannot be read.",
        |store| count(&store["damaged"]),
    ),
    Figure(
        "ndshm_store_stray_files",
        "Files in its directory that are not the store's.",
        |store| count(&store["strays"]),
    ),
];

const GUARD_KINDS: [&str; 3] = ["read", "write", "atomic"];

impl Page {
    /// A page without figures; with `is_of_roots` it sums up the stores of each root.
    pub(super) fn new(is_of_roots: bool) -> Result<Self, Failure> {
        let registry = Registry::new();
        let labels = if is_of_roots { OF_ROOT } else { OF_STORE };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = GaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = prometheus::Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let build = || {
            let all = |figures: &[Figure], labels: &[&str]| {
                let gauges = |Figure(name, help, _): &Figure| gauges(name, help, labels);
                figures.iter().map(gauges).collect::<Result<Vec<_>, _>>()
            };
            let with_kind: Vec<&str> = labels.iter().copied().chain(["kind"]).collect();
            Ok(Self {
                is_of_roots,
                of_roots: all(ROOT_FIGURES, OF_ROOT)?,
                of_stores: all(STORE_FIGURES, labels)?,
                guards: gauges("ndshm_store_guards", "Guards that are held.", &with_kind)?,
                failures: gauge(
                    "ndshm_unreadable_roots",
                    "Roots of users that could not be looked at.",
                )?,
                seconds: gauge("ndshm_look_seconds", "Seconds that this look took.")?,
                registry: registry.clone(),
            })
        };
        build().map_err(failed)
    }

    /// Adds the stores of a root, by the answer of `ls --json`.
    pub(super) fn add(&mut self, user: Option<u32>, survey: &Value) {
        let user = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let user = user.to_string();
        let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
        let root = text(&survey["root"]);
        for (gauges, Figure(.., of)) in self.of_roots.iter().zip(ROOT_FIGURES) {
            gauges.with_label_values(&[&user, &root]).add(of(survey));
        }
        for store in entries(&survey["stores"]) {
            let name = text(&store["name"]);
            let mut labels = vec![&user[..], &root];
            if !self.is_of_roots {
                labels.push(&name);
            }
            for (gauges, Figure(.., of)) in self.of_stores.iter().zip(STORE_FIGURES) {
                gauges.with_label_values(&labels).add(of(store));
            }
            for kind in GUARD_KINDS {
                let labels: Vec<&str> = labels.iter().copied().chain([kind]).collect();
                let gauge = self.guards.with_label_values(&labels);
                gauge.add(guards(store, kind));
            }
        }
    }

    /// Counts a root that could not be looked at.
    pub(super) fn add_failure(&mut self) {
        self.failures.inc();
    }

    /// The page in the text format of Prometheus.
    pub(super) fn finish(self, took: Duration) -> Result<String, Failure> {
        self.seconds.set(took.as_secs_f64());
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(failed)
    }
}

fn failed(error: prometheus::Error) -> Failure {
    Failure::new(Code::Failed, format!("make the page: {error}"))
}
