//! The command-line tool, as users and scripts run it.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "../../../../tests/common/mod.rs"]
mod common;
mod fixture;

mod attrs;
mod cat;
mod checkpoint;
mod completions;
mod cp;
mod diff;
mod errors;
mod export;
mod fill;
mod freeze;
mod growing;
mod guard;
mod handle;
mod import;
mod import_table;
mod janitor;
mod locks;
mod ls;
mod metrics;
mod mv;
mod names;
mod new;
mod pages;
mod patterns;
mod pipes;
mod plot;
mod recover;
mod rings;
mod rm;
mod run;
mod show;
mod slices;
mod stores;
mod sum;
mod sweep;
mod tail;
mod terminal;
mod top;
mod users;
mod verify;
mod wait;
mod waits;
mod watch;
