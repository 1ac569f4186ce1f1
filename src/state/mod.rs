//! The shared words of an array and their protocols, without I/O: exactly the code that the models run.

pub(crate) mod block;
#[cfg_attr(test, allow(unsafe_code, reason = "tests make a block of zeros"))]
pub(crate) mod lock_table;
#[allow(unsafe_code)]
pub(crate) mod mapped;
pub(crate) mod ownership;
pub(crate) mod snapshot;
