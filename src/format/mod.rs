//! Everything that stands on disk, without I/O.

pub(crate) mod array_spec;
pub(crate) mod attributes;
pub(crate) mod constants;
pub(crate) mod directory_entry;
pub(crate) mod header;
pub(crate) mod header_template;
pub(crate) mod id;
pub(crate) mod name;
