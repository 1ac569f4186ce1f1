//! Several processes, and the limits of one: deletion, crashes, forks, full file systems.
//!
//! A module for each part; `cargo test --test process forks::` runs one. A test that changes
//! something of its whole process, such as a limit, or that looks at all of it, such as its
//! descriptors, runs in a child by [`common::run`]: other tests run beside it.

#[path = "../common/mod.rs"]
mod common;

mod caching;
mod changes;
#[cfg(feature = "zarr")]
mod checkpoints;
mod churn;
mod claims;
mod closing;
mod core_dumps;
mod crowds;
mod damaged_words;
mod deadlocks;
mod descriptors;
mod disks;
mod events;
mod file_size;
mod forks;
mod growing;
mod handing_over;
mod holders;
mod interrupts;
mod janitor;
mod leftover_lanes;
mod lifecycle;
mod mounts;
mod poison;
mod predecessor;
mod raised_rights;
mod recovering_sets;
mod recycling;
mod refused_calls;
mod renaming;
mod rings;
mod scopes;
mod sets;
mod space;
mod stores;
mod syscalls;
mod waits;
