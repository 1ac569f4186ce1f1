//! Looks at stores and arrays without joining or mapping them.

pub(crate) mod info;
pub(crate) mod observer;
pub(crate) mod verify;
