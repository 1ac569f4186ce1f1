//! The payload of an array as its file has it, for copies without a lock.

use super::{Segment, header::open_error};
use crate::{
    error::{Error, Result},
    sys::fs::{inode_of_file, open_to_read},
};
use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// The file of an array that this process has mapped. So its owner does not reuse it.
pub(crate) struct PayloadFile<'a> {
    segment: &'a Segment,
    file: File,
}

impl Segment {
    /// Opens the array's file, also where it has another name by now.
    ///
    /// # Errors
    ///
    /// `Released` if the store does not have it any more.
    pub(crate) fn open_payload(&self) -> Result<PayloadFile<'_>> {
        self.by_its_name(|name| self.open_payload_at(&self.path().with_file_name(name)))
    }

    fn open_payload_at(&self, path: &Path) -> Result<PayloadFile<'_>> {
        let id = self.header().id;
        let file = open_to_read(path).map_err(|source| open_error(source, path, Some(id)))?;
        let inode = inode_of_file(&file).map_err(Error::io(path, "look at the array file"))?;
        // A released array may have its name for a moment.
        if inode != self.inode || self.check_ready().is_err() {
            return Err(Error::Released {
                path: path.into(),
                id,
            });
        }
        Ok(PayloadFile {
            segment: self,
            file,
        })
    }
}

impl PayloadFile<'_> {
    /// Reads the bytes that start at this offset of the payload.
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let start = self.segment.parsed.data_offset + offset;
        self.file
            .read_exact_at(bytes, start as u64)
            .map_err(Error::io(self.segment.path(), "read the elements"))
    }
}
