//! The command-line tool, as people and scripts use it.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

#[path = "../common/mod.rs"]
mod common;
mod stage;

mod cp;
mod errors;
mod freeze;
mod handle;
mod ls;
mod new;
mod pages;
mod plot;
mod recover;
mod rm;
mod show;
mod slices;
mod sweep;
mod top;
