//! Files to import.

use super::failure::Failure;
use crate::{
    error::{Error, Result},
    sys::fs::above_the_streams,
};
use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::Path,
};

/// The bytes of an import.
pub(super) enum Input<'a> {
    /// A regular file, and its length.
    File(File, u64),
    /// A pipe or a device: the import takes all of it.
    Stream(File),
    /// The caller's: the import takes as many bytes as the array has, and leaves the rest.
    Reader(&'a mut dyn Read),
}

impl Input<'_> {
    /// Opens a file. A pipe waits for its writer.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = || Error::io(path, "open the file");
        let file = File::open(path)
            .and_then(above_the_streams)
            .map_err(failed())?;
        let found = file.metadata().map_err(failed())?;
        if found.is_file() {
            return Ok(Self::File(file, found.len()));
        }
        if found.is_dir() {
            return Err(Error::transfer(
                path,
                "it is a directory: name a file in it",
            ));
        }
        if file.is_terminal() {
            let reason = "it is a terminal, which has no bytes of arrays: name a file, or pipe one \
                          into this program";
            return Err(Error::transfer(path, reason));
        }
        Ok(Self::Stream(file))
    }

    /// The number of bytes, where it is known before they are read.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Self::File(_, len) => Some(*len),
            _ => None,
        }
    }

    pub(super) fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::File(file, _) | Self::Stream(file) => file,
            Self::Reader(reader) => *reader,
        }
    }

    /// Passes over bytes, which a file has.
    #[cfg(feature = "safetensors")]
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        if let Self::File(file, _) = self {
            return io::Seek::seek_relative(file, len as i64);
        }
        match io::copy(&mut self.reader().take(len), &mut io::sink())? {
            skipped if skipped == len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Fails where bytes follow the last array. The length of a file was compared before.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let Self::Stream(file) = self else {
            return Ok(());
        };
        loop {
            return match file.read(&mut [0]) {
                Ok(0) => Ok(()),
                Ok(_) => Err("more bytes follow its elements".into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// A file with the same bytes, for a format whose directory stands at its end.
    #[cfg(feature = "zip")]
    pub(super) fn into_file(mut self) -> io::Result<File> {
        if let Self::File(file, _) = self {
            return Ok(file);
        }
        let mut file = super::output::spool()?;
        io::copy(self.reader(), &mut file)?;
        io::Seek::rewind(&mut file)?;
        Ok(file)
    }
}
