//! The variants in Rust, one file each.

pub mod iceoryx2;
pub mod ipc_channel;
pub mod memmap2;
pub mod mmap_sync;
pub mod ndshm;
pub mod shared_memory;
