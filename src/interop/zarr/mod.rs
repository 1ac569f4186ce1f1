//! Checkpoints: stores as Zarr v3 groups, in a directory or an object store, and back.
//!
//! The metadata of Zarr are small and written here; chunks go from the mapping to the place, and
//! from there into the mapping, without a library in between that would copy them.
//!
//! `checkpoint` and `restore` are the builders, and have the order of their steps. `bucket` is the
//! place, `directory` the one of this crate. `types` are Zarr's types for those here, `foreign`
//! those here for Zarr's, `grid` the chunks, `encode` and `read` their bytes, `names` the names of
//! axes, `record` the files beside those of Zarr, `attempts` what a place has already. `slab` has
//! the guards, `parallel` the threads, `opened` the checkpoint that is read, `group` its arrays,
//! `fill` their elements and `made` their names.

mod attempts;
mod bucket;
mod checkpoint;
mod directory;
mod encode;
mod fill;
mod foreign;
mod grid;
mod group;
mod made;
mod names;
mod opened;
mod parallel;
mod read;
mod record;
mod restore;
#[allow(unsafe_code)]
mod slab;
mod types;

pub use bucket::{Bucket, Object, Part, Version};
pub use checkpoint::{Checkpoint, Checkpointed};
pub use directory::DirectoryBucket;
pub use restore::{Listed, Listing, Restore, Restored};
pub use types::Structs;
