//! The kernel: mappings, forks, locks of files, copies. Nothing here knows a format.

pub(crate) mod copy;
#[allow(unsafe_code)]
pub(crate) mod file_lock;
#[allow(unsafe_code)]
pub(crate) mod fork;
pub(crate) mod fs;
#[allow(unsafe_code)]
pub(crate) mod mapping;
pub(crate) mod memory;
#[allow(unsafe_code)]
pub(crate) mod process;
