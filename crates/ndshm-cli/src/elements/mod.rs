//! The elements of arrays of any size, read piece by piece, as numbers.

pub(crate) mod chunks;
pub(crate) mod columns;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod reading;
pub(crate) mod scalar;
pub(crate) mod stream;
pub(crate) mod tally;
