//! The command-line tool, as users and scripts run it.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "../../../../tests/common/mod.rs"]
mod common;
mod fixture;

mod cat;
mod cp;
mod diff;
mod errors;
mod export;
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
mod new;
mod pages;
mod pipes;
mod plot;
mod recover;
mod rings;
mod rm;
mod run;
mod show;
mod slices;
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
