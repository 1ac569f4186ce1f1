//! Files to import.

use crate::error::{Error, Result};
use std::{
    fs::{self, File},
    path::Path,
};

/// Opens a file, which must be a regular one, and returns it with its length.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    let failed = || Error::io(path, "open the file");
    // Opening a FIFO waits, and opening a device can have effects.
    if !fs::metadata(path).map_err(failed())?.is_file() {
        return Err(Error::transfer(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(failed())?;
    let len = file.metadata().map_err(failed())?.len();
    Ok((file, len))
}
