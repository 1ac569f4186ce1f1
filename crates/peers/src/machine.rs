//! The machine and the versions that the figures belong to, without the name of a host, a user or a
//! path.

use crate::results::Machine;
use std::{fs, process::Command};

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The text after a name and a colon in a file of /proc.
fn field(text: &str, name: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.unwrap_or("unknown").trim().into()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success());
    output
        .and_then(|output| {
            String::from_utf8(output.stdout)
                .ok()?
                .lines()
                .next()
                .map(str::to_owned)
        })
        .unwrap_or_else(|| "unknown".into())
}

/// The word in brackets: the active setting.
fn chosen(text: &str) -> String {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("unknown", |(word, _)| word)
        .into()
}

/// How busy the machine is: runnable processes, as means over 1, 5 and 15 minutes.
pub fn load() -> String {
    let load = read("/proc/loadavg");
    load.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The facts of this machine. `python` has the versions there.
pub fn describe(python: String, is_quick: bool) -> Machine {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = read("/proc/cpuinfo");
    let kib: f64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    let huge = "/sys/kernel/mm/transparent_hugepage";
    let facts = [
        ("date", first_line("date", &["-u", "+%Y-%m-%d"])),
        (
            "commit",
            first_line(
                "git",
                &[
                    "-C",
                    env!("CARGO_MANIFEST_DIR"),
                    "describe",
                    "--always",
                    "--dirty",
                ],
            ),
        ),
        (
            "processor",
            format!("{}, {cores} cores", field(&processors, "model name")),
        ),
        ("memory", format!("{:.1} GiB", kib / 1024.0 / 1024.0)),
        (
            "kernel",
            format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        ),
        ("huge pages", {
            let of = |file: &str| chosen(&read(&format!("{huge}/{file}")));
            format!(
                "{} for the heap, {} for shared memory",
                of("enabled"),
                of("shmem_enabled")
            )
        }),
        ("load before", load()),
        ("Rust", first_line("rustc", &["--version"])),
        ("Python", python),
    ];
    Machine {
        facts: facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        is_quick,
        seconds: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_files_of_the_kernel() {
        assert_eq!(
            field("model name\t: Some CPU\nflags : x", "model name"),
            "Some CPU"
        );
        assert_eq!(
            (chosen("always [madvise] never"), chosen("none")),
            ("madvise".into(), "unknown".into())
        );
    }
}
