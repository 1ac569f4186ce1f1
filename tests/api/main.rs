//! The interface as one process uses it: arrays, views, guards, handles, and the other formats and
//! libraries.
//!
//! A module for each part; `cargo test --test api guards::` runs one. Tests that look at several
//! processes or at the limits of one are in `tests/process`.

#[path = "../common/mod.rs"]
mod common;

mod any;
mod arrays;
mod atomics;
mod changes;
#[cfg(feature = "zarr")]
mod checkpoints;
#[cfg(feature = "dlpack")]
mod dlpack;
#[cfg(all(feature = "zip", feature = "safetensors"))]
mod foreign;
mod frozen;
mod golden;
mod growing;
mod guards;
mod handles;
#[cfg(all(feature = "zip", feature = "safetensors"))]
mod numpy;
mod pages;
mod phases;
mod refusals;
mod rings;
#[cfg(feature = "derive")]
mod structs;
mod together;
#[cfg(feature = "tracing")]
mod tracing;
mod transfer;
mod verify;
mod views;
mod words;
