//! The open end of an export: a file, whose places several threads write, or a stream.

use crate::sys::{process::Bounded, region::Region};
use crc32fast::Hasher;
use std::io::{self, Write};

/// Takes the bytes of an export, one after another or by places.
pub(super) trait Drain: Write {
    /// The place of the next `len` bytes, all of which the caller writes there before it writes
    /// anything else. `None` where bytes are taken one after another only.
    fn region(&mut self, _len: usize) -> io::Result<Option<Region<'_>>> {
        Ok(None)
    }

    /// Takes the checksum of a region's `len` bytes, when all of them are written.
    fn add_region(&mut self, _sum: Hasher, _len: usize) {}
}

/// The open end of an export.
pub(super) enum Outlet<'a> {
    File(Bounded<'a>),
    Stream(&'a mut dyn Write),
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Outlet::File(file) => file.write(bytes),
            Outlet::Stream(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Outlet::File(file) => file.flush(),
            Outlet::Stream(out) => out.flush(),
        }
    }
}

impl Drain for Outlet<'_> {
    fn region(&mut self, len: usize) -> io::Result<Option<Region<'_>>> {
        match self {
            Outlet::File(file) => file.region(len, false),
            Outlet::Stream(_) => Ok(None),
        }
    }
}

#[cfg(test)]
impl Drain for Vec<u8> {}
