//! The place of many bytes in a new file, which several threads write in any order.
//!
//! On a tmpfs the kernel makes a page of 4 KiB for each 4 KiB that is written, one after another
//! under the lock of the file. Here it makes huge pages first, which costs a third, by several
//! threads, and then copies into them. If it makes none, the bytes are written all the same. On a
//! disk the space is reserved first, so that the kernel looks for all of it at once.

use crate::sys::{
    file_system::{is_on_disk, is_on_tmpfs},
    fs::reserve,
    mapping::{HUGE_PAGE, Mapping},
};
use crc32fast::Hasher;
use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// From this many bytes on, huge pages are made for them.
const HUGE_FROM: usize = 2 * HUGE_PAGE;

/// The place of some bytes of a file that no other process knows yet.
pub(crate) struct Region<'a> {
    file: &'a File,
    start: u64,
    pages: Option<Pages>,
    sums: Option<Mutex<Vec<Sum>>>,
}

/// The huge pages of a file up to the end of a region.
struct Pages {
    mapping: Mapping,
    /// For each huge page, whether a thread has begun to make it.
    begun: Box<[AtomicBool]>,
    works: AtomicBool,
}

/// The CRC-32 of some bytes of a region.
struct Sum {
    offset: usize,
    hasher: Hasher,
}

impl<'a> Region<'a> {
    /// The next `len` bytes from `start` on. With `sums`, their CRC-32 is counted.
    pub(crate) fn new(file: &'a File, start: u64, len: usize, sums: bool) -> Self {
        if is_on_disk(file) {
            // Where this fails, the writes decide.
            let _ = reserve(file, start..start.saturating_add(len as u64));
        }
        Self {
            file,
            start,
            pages: Pages::of(file, start, len),
            sums: sums.then(Mutex::default),
        }
    }

    /// Whether several threads write faster than one.
    pub(crate) fn is_parallel(&self) -> bool {
        self.pages.is_some() || self.sums.is_some()
    }

    /// Writes bytes `offset` bytes after the start of the region. No two calls write one byte.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let at = self.start + offset as u64;
        if let Some(pages) = &self.pages {
            pages.make(self.file, at..at + bytes.len() as u64);
        }
        self.file.write_all_at(bytes, at)?;
        if let Some(sums) = &self.sums {
            let mut hasher = Hasher::new();
            hasher.update(bytes);
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.push(Sum { offset, hasher });
        }
        Ok(())
    }

    /// The CRC-32 of all bytes that were written, in the order of their places.
    pub(crate) fn into_sum(self) -> Hasher {
        let sums = self.sums.unwrap_or_default();
        let mut sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.sort_unstable_by_key(|sum| sum.offset);
        sums.iter().fold(Hasher::new(), |mut all, sum| {
            all.combine(&sum.hasher);
            all
        })
    }

    /// Cuts bytes whose place is `offset` into pieces that end at multiples of `piece` in the file,
    /// each with its place.
    pub(crate) fn pieces<'b>(
        &self,
        offset: usize,
        bytes: &'b [u8],
        piece: usize,
    ) -> impl Iterator<Item = (usize, &'b [u8])> + Send + use<'b> {
        let over = ((self.start + offset as u64) % piece as u64) as usize;
        let (first, rest) = bytes.split_at((piece - over).min(bytes.len()));
        let rest_at = offset + first.len();
        let rest = rest.chunks(piece).enumerate();
        std::iter::once((offset, first))
            .chain(rest.map(move |(number, bytes)| (rest_at + number * piece, bytes)))
    }
}

impl Pages {
    /// The pages of a file on a tmpfs, which gets its length up to the end of the region.
    fn of(file: &File, start: u64, len: usize) -> Option<Self> {
        let end = start.checked_add(len as u64)?;
        let whole = usize::try_from(end).ok()?;
        if len < HUGE_FROM || !is_on_tmpfs(file) || file.metadata().ok()?.len() > end {
            return None;
        }
        file.set_len(end).ok()?;
        let mapping = Mapping::new(file, whole, Path::new("a new file")).ok()?;
        let begun = (0..whole / HUGE_PAGE).map(|_| AtomicBool::new(false));
        Some(Self {
            mapping,
            begun: begun.collect(),
            works: AtomicBool::new(true),
        })
    }

    /// Makes the huge pages of a range that are not begun and lie before the end of the file.
    fn make(&self, file: &File, range: Range<u64>) {
        let page = |at: u64| (at / HUGE_PAGE as u64) as usize;
        let pages = page(range.start)..page(range.end.saturating_sub(1)) + 1;
        let mut made: Option<Range<usize>> = None;
        for number in pages.start..pages.end.min(self.begun.len()) {
            if self.begun[number].swap(true, Relaxed) {
                self.collapse(file, made.take());
            } else {
                made = Some(made.map_or(number, |made| made.start)..number + 1);
            }
        }
        self.collapse(file, made);
    }

    fn collapse(&self, file: &File, pages: Option<Range<usize>>) {
        let Some(pages) = pages.filter(|_| self.works.load(Relaxed)) else {
            return;
        };
        // The kernel does not collapse a range that has no page. Other threads may write there at
        // the same time, so the page gets no byte.
        let reserved = pages.clone().try_for_each(|number| {
            let at = (number * HUGE_PAGE) as u64;
            reserve(file, at..at + 1)
        });
        let bytes = pages.start * HUGE_PAGE..pages.end * HUGE_PAGE;
        if reserved
            .and_then(|()| self.mapping.collapse(bytes))
            .is_err()
        {
            self.works.store(false, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::share::share;
    use std::io::{Read, Seek};

    /// Several threads write pieces of a region that starts and ends amid pages, with bytes before
    /// and behind it, which stay.
    #[test]
    fn every_byte_of_a_region_is_written_and_no_other() {
        let bytes: Vec<u8> = (0..3 * HUGE_FROM + 777)
            .map(|i| ((i * 7) >> 5) as u8)
            .collect();
        for directory in [Path::new("/dev/shm"), &std::env::temp_dir()] {
            for piece in [HUGE_PAGE, 300_001] {
                let mut file = tempfile::tempfile_in(directory).unwrap();
                file.write_all_at(&[1; 1000], 0).unwrap();
                let region = Region::new(&file, 1000, bytes.len(), true);
                assert_eq!(region.pages.is_some(), is_on_tmpfs(&file));
                let pieces = region.pieces(0, &bytes, piece);
                let write = |_: &mut (), (offset, bytes): (usize, &[u8])| {
                    region.write(offset, bytes).map(|()| bytes.len())
                };
                let mut written = 0;
                share(3, pieces, || (), write, &mut |len| written += len).unwrap();
                assert_eq!(written, bytes.len());
                assert_eq!(region.into_sum().finalize(), crc32fast::hash(&bytes));
                file.write_all_at(&[2; 10], 1000 + bytes.len() as u64)
                    .unwrap();
                let mut found = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut found).unwrap();
                let expected = [&[1; 1000], &bytes[..], &[2; 10]].concat();
                assert!(found == expected, "pieces of {piece} in {directory:?}");
            }
        }
    }

    #[test]
    fn a_region_on_a_tmpfs_has_huge_pages_where_an_array_has_them() {
        let len = 4 * HUGE_PAGE + 5;
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        let region = Region::new(&file, 3, len, false);
        region.write(0, &vec![1; len]).unwrap();
        let pages = region.pages.as_ref().unwrap();
        // The kernel of this machine may make none: then no thread asks again.
        if pages.works.load(Relaxed) {
            pages.mapping.populate_from_file(0..len).unwrap();
            assert!(pages.mapping.huge_len().unwrap() >= 3 * HUGE_PAGE);
        }
        assert_eq!(file.metadata().unwrap().len(), len as u64 + 3);
    }
}
