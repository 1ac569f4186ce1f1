//! The memory of a process, as the kernel counts it.

use crate::peer::Result;
use serde::{Deserialize, Serialize};
use std::fs;

/// Kibibytes of one process, or of its growth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident pages, private and shared.
    pub rss: i64,
    /// Resident pages, each divided by the number of processes that map it.
    pub pss: i64,
    /// Page tables.
    pub tables: i64,
}

/// Arrays of this many bytes and more have their pages warmed before each call.
const WARM_FROM: usize = 16 << 20;

/// Touches and frees somewhat more memory than an array needs. A virtual machine gives pages back
/// to its host some seconds after they were freed, large free pieces first. The next process that
/// gets them waits for the host, and that is no property of a variant.
pub fn warm_for(bytes: usize) {
    if bytes < WARM_FROM {
        return;
    }
    if let Ok(mut pages) = memmap2::MmapMut::map_anon(bytes + bytes / 4) {
        let _ = pages.advise(memmap2::Advice::HugePage);
        pages.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    }
}

/// The figure in a line such as `Rss:   1234 kB`.
fn field(text: &str, name: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Memory {
    /// The memory of this process now.
    pub fn now() -> Result<Self> {
        let maps = fs::read_to_string("/proc/self/smaps_rollup")?;
        let status = fs::read_to_string("/proc/self/status")?;
        let parts = (
            field(&maps, "Rss"),
            field(&maps, "Pss"),
            field(&status, "VmPTE"),
        );
        let (Some(rss), Some(pss), Some(tables)) = parts else {
            return Err("/proc/self has no memory figures".into());
        };
        Ok(Self { rss, pss, tables })
    }

    /// The growth since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            rss: self.rss - before.rss,
            pss: self.pss - before.pss,
            tables: self.tables - before.tables,
        }
    }

    /// As three words of a line.
    pub fn line(self) -> String {
        format!("{} {} {}", self.rss, self.pss, self.tables)
    }

    /// Parses such a line.
    pub fn parse(line: &str) -> Result<Self> {
        let words = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<Vec<i64>, _>>()?;
        let [rss, pss, tables] = words[..] else {
            return Err(format!("not memory figures: {line}").into());
        };
        Ok(Self { rss, pss, tables })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "Rss:  12 kB\nPss:  7 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(
            (
                field(text, "Pss"),
                field(text, "Pss_Dirty"),
                field(text, "Swap")
            ),
            (Some(7), Some(9), None)
        );
        let memory = Memory {
            rss: 1,
            pss: -2,
            tables: 3,
        };
        assert_eq!(Memory::parse(&memory.line()).unwrap(), memory);
    }
}
