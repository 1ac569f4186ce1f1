//! Writing zip archives (PKWARE's APPNOTE.TXT, 6.3): entries that are stored or deflated, with
//! sizes of 64 bits.
//!
//! Written by hand over `flate2`, because no library takes an entry whose bytes and checksum come
//! from several threads. The `zip` crate reads archives.

use super::{deflate::Deflater, failure::Failure, outlet::Drain};
use crate::sys::{process::Bounded, region::Region};
use crc32fast::Hasher;
use std::io::{self, Seek, SeekFrom, Write};

/// The version of the format that has sizes of 64 bits.
const VERSION: u16 = 45;
/// Made on Unix, so that the attributes are a file's mode.
const MADE_BY: u16 = 3 << 8 | VERSION;
/// The name is UTF-8.
const UTF8: u16 = 1 << 11;
/// The first day that the format has: entries have no time.
const DATE: u16 = 1 << 5 | 1;
/// A regular file that its owner writes and all read.
const ATTRIBUTES: u32 = 0o100_644 << 16;
/// The extra field with the sizes of 64 bits.
const ZIP64: u16 = 1;
/// Stands for a number that is in that field.
const IN_ZIP64: u32 = u32::MAX;

/// An archive that is being written.
pub(super) struct Archive<'a, 'f> {
    out: &'a mut Bounded<'f>,
    compresses: bool,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    at: u64,
    is_deflated: bool,
    crc: u32,
    len: u64,
    packed_len: u64,
}

impl<'a, 'f> Archive<'a, 'f> {
    /// An archive at the start of a file.
    pub(super) fn new(out: &'a mut Bounded<'f>, compresses: bool) -> Self {
        Self {
            out,
            compresses,
            entries: Vec::new(),
        }
    }

    /// Adds an entry with the bytes that `write` writes.
    pub(super) fn add(
        &mut self,
        name: String,
        write: impl FnOnce(&mut dyn Drain) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if name.len() > usize::from(u16::MAX) {
            return Err(format!(
                "the key {:?}... has {} bytes, too many for the name of an entry: shorten it",
                name.chars().take(40).collect::<String>(),
                name.len()
            )
            .into());
        }
        let mut entry = Entry {
            name,
            at: self.out.stream_position()?,
            is_deflated: self.compresses,
            crc: 0,
            len: 0,
            packed_len: 0,
        };
        // Its numbers are known last.
        self.out.write_all(&entry.local_header())?;
        let start = self.out.stream_position()?;
        if self.compresses {
            let mut packed = Deflater::new(&mut *self.out);
            write(&mut packed)?;
            (entry.crc, entry.len) = packed.finish()?;
        } else {
            let mut stored = Stored {
                out: &mut *self.out,
                sum: Hasher::new(),
            };
            write(&mut stored)?;
            entry.crc = stored.sum.finalize();
        }
        let end = self.out.stream_position()?;
        entry.packed_len = end - start;
        if !self.compresses {
            entry.len = entry.packed_len;
        }
        self.out.seek(SeekFrom::Start(entry.at))?;
        self.out.write_all(&entry.local_header())?;
        self.out.seek(SeekFrom::Start(end))?;
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the directory of all entries.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let start = self.out.stream_position()?;
        for entry in &self.entries {
            self.out.write_all(&entry.directory_entry())?;
        }
        let end = self.out.stream_position()?;
        self.out
            .write_all(&ending(self.entries.len() as u64, start, end))?;
        Ok(())
    }
}

impl Entry {
    fn flags(&self) -> u16 {
        if self.name.is_ascii() { 0 } else { UTF8 }
    }

    /// The part that both headers have: version, flags, method, time, checksum, sizes.
    fn common(&self) -> Vec<u8> {
        let method: u16 = if self.is_deflated { 8 } else { 0 };
        let mut bytes = Vec::new();
        for number in [VERSION, self.flags(), method, 0, DATE] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.crc, IN_ZIP64, IN_ZIP64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes
    }

    fn local_header(&self) -> Vec<u8> {
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.extend(self.common());
        bytes.extend(20_u16.to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.extend(zip64(&[self.len, self.packed_len]));
        bytes
    }

    fn directory_entry(&self) -> Vec<u8> {
        let mut bytes = b"PK\x01\x02".to_vec();
        bytes.extend(MADE_BY.to_le_bytes());
        bytes.extend(self.common());
        // The length of the extra field; no comment, the first disk, no internal attributes.
        for number in [28_u16, 0, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(ATTRIBUTES.to_le_bytes());
        bytes.extend(IN_ZIP64.to_le_bytes());
        bytes.extend(self.name.as_bytes());
        bytes.extend(zip64(&[self.len, self.packed_len, self.at]));
        bytes
    }
}

/// The extra field with numbers of 64 bits.
fn zip64(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = ZIP64.to_le_bytes().to_vec();
    bytes.extend((8 * numbers.len() as u16).to_le_bytes());
    numbers
        .iter()
        .for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes
}

/// The end of an archive whose directory of `count` entries lies between `start` and `end`.
fn ending(count: u64, start: u64, end: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let short_count = u16::try_from(count).unwrap_or(u16::MAX);
    let short = |number: u64| u32::try_from(number).unwrap_or(IN_ZIP64);
    let (short_len, short_start) = (short(end - start), short(start));
    if short_count == u16::MAX || short_len == IN_ZIP64 || short_start == IN_ZIP64 {
        bytes.extend(b"PK\x06\x06");
        // The bytes of this record that follow.
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend(MADE_BY.to_le_bytes());
        bytes.extend(VERSION.to_le_bytes());
        // The first disk, in both numbers.
        bytes.extend([0; 8]);
        for number in [count, count, end - start, start] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07");
        bytes.extend([0; 4]);
        bytes.extend(end.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06");
    bytes.extend([0; 4]);
    for number in [short_count, short_count] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(short_len.to_le_bytes());
    bytes.extend(short_start.to_le_bytes());
    // No comment.
    bytes.extend([0; 2]);
    bytes
}

/// The bytes of an entry that is not compressed.
struct Stored<'a, 'f> {
    out: &'a mut Bounded<'f>,
    sum: Hasher,
}

impl Write for Stored<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drain for Stored<'_, '_> {
    fn region(&mut self, len: usize) -> io::Result<Option<Region<'_>>> {
        self.out.region(len, true)
    }

    fn add_region(&mut self, sum: Hasher, _len: usize) {
        self.sum.combine(&sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Read};

    #[test]
    fn an_ending_has_numbers_of_64_bits_where_others_do_not_suffice() {
        assert_eq!(ending(3, 100, 200).len(), 22);
        for (count, start, end) in [
            (u64::from(u16::MAX), 100, 200),
            (1, u64::from(u32::MAX), 1 << 33),
            (1, 5 << 32, (5 << 32) + 70),
        ] {
            let bytes = ending(count, start, end);
            assert_eq!(bytes.len(), 56 + 20 + 22);
            assert_eq!(bytes[24..32], count.to_le_bytes());
            assert_eq!(bytes[40..48], (end - start).to_le_bytes());
            assert_eq!(bytes[48..56], start.to_le_bytes());
            assert_eq!(bytes[64..72], end.to_le_bytes());
        }
    }

    #[test]
    fn more_entries_than_16_bits_count_are_read_back() {
        let mut file = tempfile::tempfile().unwrap();
        let mut out = Bounded::new(&mut file);
        let mut archive = Archive::new(&mut out, false);
        for number in 0..66_000_u32 {
            let write = |out: &mut dyn Drain| Ok(out.write_all(&number.to_le_bytes())?);
            archive.add(format!("é{number}"), write).unwrap();
        }
        archive.finish().unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let mut read = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(read.len(), 66_000);
        let mut entry = read.by_name("é65999").unwrap();
        let mut found = Vec::new();
        entry.read_to_end(&mut found).unwrap();
        assert_eq!(found, 65_999_u32.to_le_bytes());
    }

    #[test]
    fn a_name_that_the_format_has_no_room_for_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        let mut out = Bounded::new(&mut file);
        let refused = Archive::new(&mut out, false).add("x".repeat(70_000), |_| Ok(()));
        assert!(matches!(refused, Err(Failure::Format(reason)) if reason.contains("shorten")));
    }
}
