//! Looks at stores and arrays from outside: joins no store, maps no array.

pub(crate) mod holder;
pub(crate) mod info;
pub(crate) mod observer;
pub(crate) mod verify;
