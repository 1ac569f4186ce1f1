//! The elements of arrays of any size, read piece by piece, as numbers.

pub(crate) mod chunks;
pub(crate) mod reading;
pub(crate) mod scalar;
pub(crate) mod tally;
