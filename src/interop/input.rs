//! Files to import.

use super::failure::Failure;
use crate::{
    error::{Error, Result},
    sys::fs::above_the_streams,
};
use crc32fast::Hasher;
use std::{
    fs::File,
    io::{self, IsTerminal, Read, Seek},
    path::Path,
};

/// Gives the bytes of an import, one after another or by places.
pub(super) trait Source: Read {
    /// The place of the next `len` bytes, for threads that read them in any order; the caller
    /// reads all of them there and then passes over them, or reads them one after another.
    fn stretch(&mut self, _len: usize) -> io::Result<Option<Stretch<'_>>> {
        Ok(None)
    }

    /// Passes over the bytes of a stretch, which were read. Takes their CRC-32 if it is counted.
    fn pass(&mut self, _len: usize, _sum: Hasher) -> io::Result<()> {
        Ok(())
    }
}

/// A place in a regular file.
pub(super) struct Stretch<'a> {
    pub(super) file: &'a File,
    pub(super) start: u64,
    /// Whether the CRC-32 of the bytes is counted.
    pub(super) is_summed: bool,
}

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

    /// Passes over bytes, which a file has.
    #[cfg(feature = "safetensors")]
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        if let Self::File(file, _) = self {
            return file.seek_relative(len as i64);
        }
        match io::copy(&mut self.by_ref().take(len), &mut io::sink())? {
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
        io::copy(&mut self, &mut file)?;
        file.rewind()?;
        Ok(file)
    }
}

impl Read for Input<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file, _) | Self::Stream(file) => file.read(bytes),
            Self::Reader(reader) => reader.read(bytes),
        }
    }
}

impl Source for Input<'_> {
    fn stretch(&mut self, _len: usize) -> io::Result<Option<Stretch<'_>>> {
        let Self::File(file, _) = self else {
            return Ok(None);
        };
        let start = file.stream_position()?;
        Ok(Some(Stretch {
            file,
            start,
            is_summed: false,
        }))
    }

    fn pass(&mut self, len: usize, _sum: Hasher) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.seek_relative(len as i64),
            _ => Ok(()),
        }
    }
}
