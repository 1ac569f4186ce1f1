//! The list of rings and of arrays that grow, rings first.

use super::{
    history::History,
    rows::{Line, Victim},
};
use crate::survey::{ArrayView, StoreView, Survey, last_subscriber};
use ndshm::{Holder, RingState};
use std::time::SystemTime;

/// A line for each ring and each array that grows.
pub(super) fn lines(survey: &Survey, history: &History) -> Vec<Line> {
    let arrays = survey
        .stores
        .iter()
        .flat_map(|store| store.arrays.iter().map(move |array| (store, array)));
    arrays
        .filter_map(|(store, array)| line(store, array, array.count()?, history))
        .collect()
}

fn line(store: &StoreView, array: &ArrayView, count: u64, history: &History) -> Option<Line> {
    let rate = history.rate(array);
    let kind = match array.ring {
        Some(_) => "ring",
        None => "growing",
    };
    let ring = array.ring.as_ref();
    let producer = ring.and_then(|ring| ring.producer.as_ref());
    let subscribers = ring.map(|ring| ring.subscribers.len());
    Some(Line {
        cells: vec![
            array.name(),
            store.name(),
            kind.into(),
            rate.map_or(String::new(), |rate| format!("{}/s", short(rate))),
            count.to_string(),
            producer.map_or(String::new(), process),
            subscribers.map_or(String::new(), |number| number.to_string()),
            ring.map_or(String::new(), lag),
            word(array, count).into(),
        ],
        is_bad: array.is_dead || producer.is_some_and(|process| !process.is_alive),
        victim: Some(Victim::Array(array.info.path.clone())),
        key: array.info.id.to_string(),
        group: u8::from(ring.is_none()),
        name: array.name(),
        bytes: array.allocated,
        created: array.info.created.max(SystemTime::UNIX_EPOCH),
        guards: subscribers.unwrap_or(0),
        rate: rate.unwrap_or(0.0),
    })
}

fn word(array: &ArrayView, count: u64) -> &'static str {
    let ring = array.ring.as_ref();
    let producer = ring.and_then(|ring| ring.producer.as_ref());
    match () {
        () if array.is_dead => "dead",
        () if producer.is_some_and(|process| !process.is_alive) => "producer dead",
        () if ring.is_some_and(|ring| ring.has_ended) => "ended",
        () if array.state.is_frozen => "frozen",
        () if array.info.max_len.is_some_and(|most| count >= most as u64) => "full",
        () => "",
    }
}

/// The largest lag, and the process that has it.
fn lag(ring: &RingState) -> String {
    match last_subscriber(ring) {
        Some(last) if last.lag > 0 => match last.process.pid {
            Some(pid) => format!("{} by {pid}", last.lag),
            None => last.lag.to_string(),
        },
        Some(_) => "0".into(),
        None => String::new(),
    }
}

fn process(holder: &Holder) -> String {
    match (holder.pid, &holder.command) {
        (Some(pid), Some(command)) => format!("{pid} {command}"),
        (Some(pid), None) => pid.to_string(),
        (None, _) => format!("member {}", holder.member),
    }
}

/// A rate with three digits at least.
fn short(rate: f64) -> String {
    match rate {
        100.0.. => format!("{rate:.0}"),
        10.0.. => format!("{rate:.1}"),
        _ => format!("{rate:.2}"),
    }
}
