//! Tests of the library that need large dependencies, which an example or a test of the library
//! itself should not wait for: cargo builds all development dependencies of a package for each.
//!
//! `cargo test -p ndshm-checks` runs the code of the guide's pages on other libraries. `cargo test
//! -p ndshm-checks --test refused -- --ignored` compiles structs that the derive macro refuses.

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/worker-pools.md")]
struct WorkerPools;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/coming-from.md")]
struct ComingFrom;
