//! Exchange of arrays with other formats and libraries: `.npy`, `.npz` and safetensors files, files
//! of bare elements, and DLPack tensors.
//!
//! Elements move between the file and the mapping in pieces of a few megabytes, without a second
//! copy of the array. An export reads each array under one guard, so the file shows one moment. An
//! import fills a draft, which other processes see only when it is complete. No process ever sees a
//! half-written file.
//!
//! Files import downwards only. The builders (`export`, `import`) use the containers (`npz`,
//! `safetensors`); these use `source` (the arrays to write), `target` (the arrays to make) and
//! `selection` (which of them); all of them use the rest: headers, elements, files, failures.

#[cfg(feature = "zip")]
mod archive;
#[cfg(feature = "zip")]
mod deflate;
mod described;
#[cfg(feature = "dlpack")]
#[allow(unsafe_code)]
mod dlpack;
mod elements;
mod export;
mod failure;
mod gather;
mod import;
mod input;
mod meter;
mod npy;
#[cfg(feature = "zip")]
mod npz;
mod outlet;
mod output;
#[cfg(feature = "safetensors")]
mod safetensors;
mod selection;
mod source;
mod target;
#[cfg(feature = "zarr")]
mod zarr;

pub use export::Export;
pub use import::{Import, Imported};
pub use selection::Left;
pub use source::Exportable;
#[cfg(feature = "zarr")]
pub use zarr::{
    Bucket, Checkpoint, Checkpointed, DirectoryBucket, Listed, Listing, Object, Part, Restore,
    Restored, Structs, Version,
};
