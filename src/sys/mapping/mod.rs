//! Memory-mapped files: the only place that maps, protects and unmaps, and hands out references to
//! shared words.
//!
//! One of the modules with unsafe code. Its promise: every pointer and reference it gives lies
//! inside a mapping that lives at least as long as the [`Mapping`] it was asked from, and
//! references are to atomics only, so that nothing another process does is undefined.

mod aligned;

pub(crate) use aligned::HUGE_PAGE;

use crate::{
    error::{Error, Result},
    sys::copy,
};
use aligned::Aligned;
use memmap2::{MmapOptions, MmapRaw};
use rustix::{
    io::Errno,
    mm::{Advice, madvise},
};
use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::Path,
    ptr::NonNull,
};

/// From linux/mman.h: libc has it for glibc only.
const MADV_COLLAPSE: libc::c_int = 25;

/// Bytes from the start of a mapping that stay writable whatever is protected: the smallest page of
/// any machine.
const FIRST_PAGE: usize = 4096;

/// Types that consist of atomics, so that a reference to one in shared memory is sound, whatever
/// other processes do.
///
/// # Safety
///
/// The type is `repr(C)`, consists of atomics, has no padding, and any bytes are a valid value of
/// it.
pub(crate) unsafe trait Atomics {}

/// A whole file, mapped shared for reading and writing.
///
/// Invariant: `len` bytes from `address()`, rounded up to whole pages, are mapped until the value
/// is dropped, and the first page stays writable.
pub(crate) struct Mapping {
    pages: Pages,
    len: usize,
}

enum Pages {
    Anywhere(MmapRaw),
    Aligned(Aligned),
}

impl Mapping {
    /// Maps the first `len` bytes of a file, which has at least so many; where there could be huge
    /// pages among them, so that these are mapped as such.
    pub(crate) fn new(file: &File, len: usize, path: &Path) -> Result<Self> {
        if len >= HUGE_PAGE
            && let Ok(aligned) = Aligned::new(file, len)
        {
            return Ok(Self {
                pages: Pages::Aligned(aligned),
                len,
            });
        }
        let raw = MmapOptions::new()
            .len(len)
            .map_raw(file)
            .map_err(|error| map_error(error, path))?;
        Ok(Self {
            pages: Pages::Anywhere(raw),
            len,
        })
    }

    fn address(&self) -> *mut u8 {
        match &self.pages {
            Pages::Anywhere(raw) => raw.as_mut_ptr(),
            Pages::Aligned(aligned) => aligned.address(),
        }
    }

    /// Gives the kernel advice that changes no byte: about `range`, rounded outwards to whole
    /// pages.
    fn advise(&self, range: Range<usize>, advice: Advice) -> io::Result<()> {
        let start = range.start - range.start % rustix::param::page_size();
        let end = range.end.min(self.len);
        if start >= end {
            return Ok(());
        }
        // SAFETY: the pages are mapped (invariant). The advice that this module gives leaves what
        // is in them as it is.
        Ok(unsafe {
            madvise(
                self.address().wrapping_add(start).cast(),
                end - start,
                advice,
            )
        }?)
    }

    /// Has the kernel map all pages of a range, and make those that the file does not have yet.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.advise(range, Advice::LinuxPopulateWrite)
    }

    /// Has the kernel map all pages of a range that the file has. Much cheaper than to have each
    /// mapped when it is written first.
    pub(crate) fn populate_from_file(&self, range: Range<usize>) -> io::Result<()> {
        self.advise(range, Advice::LinuxPopulateRead)
    }

    /// Has the kernel make huge pages of a range by itself, where its file system was mounted so
    /// that it does.
    pub(crate) fn prefer_huge_pages(&self) -> io::Result<()> {
        self.advise(0..self.len, Advice::LinuxHugepage)
    }

    /// Makes huge pages of the first `len` bytes, a multiple of their size, each of which has at
    /// least one page already.
    pub(crate) fn collapse(&self, len: usize) -> io::Result<()> {
        assert!(
            len <= self.len && len.is_multiple_of(HUGE_PAGE),
            "{len} bytes are not huge pages of {} bytes",
            self.len
        );
        // SAFETY: the pages are mapped (assertion, invariant); what is in them stays as it is.
        match unsafe { libc::madvise(self.address().cast(), len, MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Takes away the right to write the pages that lie in `range` as a whole.
    pub(crate) fn protect(&self, range: Range<usize>, path: &Path) -> Result<()> {
        let start = range.start.next_multiple_of(rustix::param::page_size());
        if start >= range.end.min(self.len) {
            return Ok(());
        }
        let len = range.end.min(self.len) - start;
        let address = self.address().wrapping_add(start);
        // SAFETY: the pages from `start`, a page boundary of this mapping, to its end at most are
        // mapped (invariant); references that can write to them do not exist: either no reference
        // does yet, or the array was frozen, while it was held exclusively. Reading goes on.
        unsafe { rustix::mm::mprotect(address.cast(), len, rustix::mm::MprotectFlags::READ) }
            .map_err(|errno| map_error(errno.into(), path))
    }

    /// The atomics that lie `at` bytes from the start, in the first page.
    pub(crate) fn atomics<T: Atomics>(&self, at: usize) -> &T {
        let end = at + size_of::<T>();
        assert!(
            end <= self.len && end <= FIRST_PAGE,
            "atomics up to {end} do not lie in the first page of {} bytes",
            self.len
        );
        assert!(
            at.is_multiple_of(align_of::<T>()),
            "atomics at {at} are not aligned"
        );
        let address = self.address().cast_const().wrapping_add(at).cast::<T>();
        // SAFETY: the bytes lie inside the mapping, in its first page, which stays writable
        // (asserted, invariant); the mapping starts at a page, so the address is aligned as `at` is
        // (asserted); `T` consists of atomics ([`Atomics`]), for which any bytes are valid and
        // which others may change.
        unsafe { &*address }
    }

    /// The address of a byte of the mapping, or of its end.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(
            offset <= self.len,
            "offset {offset} lies outside a mapping of {} bytes",
            self.len
        );
        match NonNull::new(self.address().wrapping_add(offset)) {
            Some(address) => address,
            None => unreachable!("a mapping at address zero"),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether a file of `len` bytes has as many pages.
    pub(crate) fn has_pages_of(&self, len: usize) -> bool {
        let pages = |len: usize| len.div_ceil(rustix::param::page_size());
        pages(len) == pages(self.len)
    }

    /// Says that the file has another length now, within the last page of what is mapped.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(
            self.has_pages_of(len),
            "{len} bytes have other pages than {}",
            self.len
        );
        self.len = len;
    }

    /// Sets the bytes of a range of a file that nobody else knows yet to zero.
    pub(crate) fn clear(&mut self, range: Range<usize>) {
        copy::clear(self.bytes_mut(range));
    }

    /// Puts bytes into the mapping of a file that nobody else knows yet.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        copy::copy(self.bytes_mut(offset..offset + bytes.len()), bytes);
    }

    /// Bytes of a file that nobody else knows yet; not those of its state block, which may be
    /// looked at by whoever opened the file before it was taken to be used again.
    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} lies outside of {} bytes",
            self.len
        );
        // SAFETY: the range lies inside the mapping (asserted, invariant), which can be written and
        // is initialised, as every page of a file; nothing else refers to it as long as the slice
        // lives, because the caller has the mapping exclusively and is the only one that knows of
        // the file.
        unsafe {
            std::slice::from_raw_parts_mut(self.address().wrapping_add(range.start), range.len())
        }
    }

    /// Bytes of the mapping.
    ///
    /// # Safety
    ///
    /// No process or thread writes these bytes for as long as the slice lives.
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} lies outside of {} bytes",
            self.len
        );
        // SAFETY: the range lies inside the mapping (asserted, invariant), which is initialised, as
        // every page of a file; nothing writes it (the caller's promise).
        unsafe { std::slice::from_raw_parts(self.address().wrapping_add(range.start), range.len()) }
    }

    /// Has the kernel write the file's pages to its disk, and waits for it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match &self.pages {
            Pages::Anywhere(raw) => raw.flush(),
            Pages::Aligned(aligned) => aligned.flush(),
        }
    }
}

/// The error of a mapping that failed; the kernel says ENOMEM for too many mappings as well as for
/// too little address space.
fn map_error(source: io::Error, path: &Path) -> Error {
    if source.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) {
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let count = count_mappings().unwrap_or(0);
        // One mapping is split in up to three by a change of its protection.
        if let Some(limit) = limit.filter(|&limit| count + 3 >= limit) {
            return Error::TooManyMappings {
                path: path.into(),
                limit,
            };
        }
    }
    Error::Io {
        path: path.into(),
        action: "map the file",
        source,
    }
}

/// How many mappings this process has. Read in pieces: a process that cannot map may not be able to
/// allocate much either.
fn count_mappings() -> io::Result<u64> {
    let mut maps = File::open("/proc/self/maps")?;
    let mut piece = [0; 4096];
    let mut count = 0;
    loop {
        match maps.read(&mut piece)? {
            0 => return Ok(count),
            len => count += piece[..len].iter().filter(|&&byte| byte == b'\n').count() as u64,
        }
    }
}
