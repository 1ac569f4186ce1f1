//! The format of the files: constants, headers, ids and names.
//!
//! This folder makes and checks the bytes of an array file, and the names of files. It promises
//! that every accepted header would be encoded in the same bytes again. The bytes may come from a
//! hostile file: nothing is trusted, and no check costs more memory than the bytes account for. It
//! opens, names and deletes no file; a caller passes the bytes, or a `Source` to read them from. It
//! knows geometry and element types, but neither the meaning of the state block nor stores.

pub(crate) mod array_spec;
pub(crate) mod attributes;
pub(crate) mod constants;
pub(crate) mod directory_entry;
pub(crate) mod header;
pub(crate) mod header_error;
pub(crate) mod header_template;
pub(crate) mod id;
pub(crate) mod kind;
pub(crate) mod name;
pub(crate) mod words;
