//! The measurements of a run: written to a file, and rendered from it.

use crate::{memory::Memory, peer::Result, stats};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Times of one operation of one variant at one size: one list for each round, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The variant's name.
    pub variant: String,
    /// The operation.
    pub operation: String,
    /// Bytes of an array.
    pub bytes: usize,
    /// Times, round by round; a round in which the variant did not run is empty.
    pub rounds: Vec<Vec<f64>>,
}

/// Growth of a process by one array.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Occupied {
    /// The variant's name.
    pub variant: String,
    /// `alone`: the producer that made it; `shared`: the same with a consumer; `consumer`.
    pub process: String,
    /// Bytes of the array.
    pub bytes: usize,
    /// How much.
    pub memory: Memory,
}

/// A job that a variant could not do, and the reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// The variant's name.
    pub variant: String,
    /// The job.
    pub job: String,
    /// The variant's own error.
    pub reason: String,
}

/// Where and when.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// One line for each: processor, memory, kernel, versions.
    pub facts: Vec<(String, String)>,
    /// Whether it was a quick run.
    pub is_quick: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Where and when.
    pub machine: Machine,
    /// Times.
    pub series: Vec<Series>,
    /// Memory.
    pub occupied: Vec<Occupied>,
    /// Yes or no.
    pub checks: Vec<(String, bool)>,
    /// Jobs that were skipped.
    pub skipped: Vec<Skipped>,
}

impl Results {
    /// Reads them from a file.
    pub fn load(path: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Writes them to a file.
    pub fn save(&self, path: &Path) -> Result<()> {
        Ok(fs::write(path, serde_json::to_vec(self)?)?)
    }

    /// Adds a time to the series and round that it belongs to.
    pub fn add(
        &mut self,
        variant: &str,
        operation: &str,
        bytes: usize,
        round: usize,
        nanoseconds: f64,
    ) {
        let is_same = |series: &Series| {
            series.variant == variant && series.operation == operation && series.bytes == bytes
        };
        let at = self.series.iter().position(is_same).unwrap_or_else(|| {
            self.series.push(Series {
                variant: variant.into(),
                operation: operation.into(),
                bytes,
                rounds: Vec::new(),
            });
            self.series.len() - 1
        });
        let rounds = &mut self.series[at].rounds;
        rounds.resize_with(rounds.len().max(round + 1), Vec::new);
        rounds[round].push(nanoseconds);
    }

    /// The series of an operation.
    pub fn of(&self, variant: &str, operation: &str, bytes: usize) -> Option<&Series> {
        self.series.iter().find(|series| {
            series.variant == variant && series.operation == operation && series.bytes == bytes
        })
    }

    /// The floor of a hand-over with the wake-ups of the variant's own two processes: their pings,
    /// each plus the time that a sum of the heap adds to the pings of two otherwise idle processes.
    /// The time of a ping depends on the scheduler's placement of the two processes and on the
    /// content of their caches.
    pub fn ping_and_sum(&self, variant: &str, bytes: usize) -> Option<Series> {
        let (pings, steady, idle) = (
            self.of(variant, "ping", bytes)?,
            self.of("heap", "steady", bytes)?,
            self.of("heap", "ping", bytes)?,
        );
        let round = |((pings, steady), idle): ((&Vec<f64>, &Vec<f64>), &Vec<f64>)| {
            if steady.is_empty() || idle.is_empty() {
                return Vec::new();
            }
            let sum = stats::median(steady.clone()) - stats::median(idle.clone());
            pings.iter().map(|ping| ping + sum).collect()
        };
        let rounds = pings
            .rounds
            .iter()
            .zip(&steady.rounds)
            .zip(&idle.rounds)
            .map(round)
            .collect();
        Some(Series {
            variant: variant.into(),
            operation: "ping and sum".into(),
            bytes,
            rounds,
        })
    }
}

impl Series {
    /// The median of all times.
    pub fn median(&self) -> f64 {
        stats::median(self.rounds.concat())
    }

    /// The 99th percentile.
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The time that this part of all times does not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        stats::quantile(self.rounds.concat(), part)
    }

    /// How many times there are.
    pub fn count(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }

    /// The median over rounds of the ratio of this median to the other's in the same round.
    pub fn ratio(&self, floor: &Series) -> Option<f64> {
        let both = self
            .rounds
            .iter()
            .zip(&floor.rounds)
            .filter(|(ours, theirs)| !ours.is_empty() && !theirs.is_empty());
        let ratios: Vec<f64> = both
            .map(|(ours, theirs)| stats::median(ours.clone()) / stats::median(theirs.clone()))
            .collect();
        (!ratios.is_empty()).then(|| stats::median(ratios))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_that_both_ran_in() {
        let mut results = Results::default();
        for (round, (ours, theirs)) in [(2.0, 1.0), (30.0, 10.0), (4.0, 1.0)]
            .into_iter()
            .enumerate()
        {
            results.add("ours", "create", 8, round, ours);
            results.add("theirs", "create", 8, round, theirs);
        }
        results.add("ours", "create", 8, 3, 1000.0);
        let (ours, theirs) = (
            results.of("ours", "create", 8).unwrap(),
            results.of("theirs", "create", 8).unwrap(),
        );
        assert_eq!(
            (ours.ratio(theirs), ours.p99(), theirs.median()),
            (Some(3.0), 1000.0, 1.0)
        );
        assert!(results.of("ours", "create", 16).is_none());
    }

    #[test]
    fn the_floor_of_a_hand_over_is_the_own_ping_and_what_the_sum_adds_to_a_ping() {
        let mut results = Results::default();
        for (variant, operation, time) in [
            ("heap", "ping", 10.0),
            ("heap", "steady", 14.0),
            ("ours", "ping", 50.0),
            ("ours", "ping", 52.0),
        ] {
            results.add(variant, operation, 8, 1, time);
        }
        assert_eq!(
            results.ping_and_sum("ours", 8).unwrap().rounds,
            [vec![], vec![54.0, 56.0]]
        );
        assert!(results.ping_and_sum("ours", 16).is_none());
    }
}
