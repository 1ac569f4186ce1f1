//! The package of the library's examples, which are in `examples/` at the root.
//!
//! Cargo builds all development dependencies of a package for each of its examples. Here they are
//! those that an example needs, so the README's first command builds no more.
