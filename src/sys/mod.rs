//! The kernel's services: mappings, forks, file locks, opening files, and copies of many bytes.
//!
//! `mapping` is the only module that maps memory, `file_lock` the only one that locks files, and
//! `fork` the only one that handles forks. Nothing here knows a format, a store or an array:
//! callers pass offsets, lengths and paths.

pub(crate) mod copy;
pub(crate) mod descriptor;
pub(crate) mod fence;
#[allow(unsafe_code)]
pub(crate) mod file_lock;
pub(crate) mod file_system;
#[allow(unsafe_code)]
pub(crate) mod fork;
pub(crate) mod fs;
#[allow(unsafe_code)]
pub(crate) mod futex;
pub(crate) mod holds;
#[allow(unsafe_code)]
pub(crate) mod mapping;
pub(crate) mod memory;
#[allow(unsafe_code)]
pub(crate) mod prefetch;
#[allow(unsafe_code)]
pub(crate) mod process;
pub(crate) mod region;
pub(crate) mod share;
pub(crate) mod wait;
