//! Names that users choose, for arrays and stores: which can be one, and how one is told from a
//! name that was made.

use crate::{
    error::{Error, Result},
    format::id::ArrayId,
};
use std::path::Path;

/// An error where this cannot be the name of a file or a store.
pub(crate) fn check(name: &str) -> Result<()> {
    let reason = match name {
        "" => "a name is needed (ArrayOptions::name, Builder::name), and it must not be empty",
        _ if name.len() > 200 => "it is longer than 200 bytes",
        _ if name.starts_with('.') => "it starts with a dot",
        _ if name.contains(['/', '\0']) => "it contains a slash or NUL",
        _ if is_id(name.as_bytes()) => "32 hexadecimal digits are what arrays without a name have",
        _ => return Ok(()),
    };
    Err(Error::Name {
        name: name.into(),
        reason,
    })
}

fn is_id(name: &[u8]) -> bool {
    name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// Whether a file is called as arrays without a chosen name are.
pub(crate) fn is_of_id(path: &Path) -> bool {
    path.file_stem()
        .is_some_and(|stem| is_id(stem.as_encoded_bytes()))
}

/// Whether a file is called by this id, as that of an array without a chosen name is.
pub(crate) fn is_called(path: &Path, id: ArrayId) -> bool {
    path.file_stem()
        .is_some_and(|stem| *stem == *id.file_stem())
}

/// The chosen name of an array at this path, if it is not named after its id.
pub(crate) fn of(path: &Path, id: ArrayId) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    (stem != id.file_stem()).then(|| stem.to_owned())
}
