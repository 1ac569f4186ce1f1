//! # Mappings
//!
//! The only module that maps, protects and unmaps files, and that returns references to shared
//! words. Every mapping starts at offset 0 of its file, and is shared if the file was opened for
//! writing. Its unsafe code is mapping, protecting, and making references into mapped memory.
//!
//! # Promise
//!
//! Every pointer and reference that a [`Mapping`] returns lies inside mapped memory for as long as
//! the `Mapping` lives. References are to atomics only, so no write of another process is undefined
//! behaviour. Slices come in two cases only: bytes of a file that no other process knows yet, and
//! bytes that, by the caller's promise, no process writes.
//!
//! # Truncation
//!
//! A file that shrinks takes its pages away: an access then raises SIGBUS. No code of this library
//! shrinks a published file, and no process can be protected from a program that does.
//!
//! # Protection
//!
//! The first page holds the state block and stays writable: opening, claiming and waiting write it.
//! The payload's pages can lose the right to be written, for read-only openings and for frozen
//! arrays.
//!
//! # Read-only files
//!
//! A file that was opened for reading only, on a file system that is mounted read-only, is mapped
//! privately: the first page can be written, and no other process and no file sees that; the others
//! can only be read. The kernel charges no memory for them.
//!
//! # Huge pages
//!
//! From 2 MiB on, a mapping starts at a multiple of the huge page size ([`aligned`]), because only
//! there the kernel maps a huge page as one. If no such range can be had, the mapping starts
//! anywhere.

mod aligned;
mod smaps;

pub(crate) use aligned::HUGE_PAGE;

use crate::{
    error::{Error, Result},
    sys::{copy, fs::is_read_only},
};
use aligned::Aligned;
use memmap2::{MmapOptions, MmapRaw};
use rustix::{
    io::Errno,
    mm::{Advice, MprotectFlags, MsyncFlags, madvise, mprotect, msync},
};
use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::Path,
    ptr::NonNull,
    sync::Arc,
};

/// From linux/mman.h: libc has it for glibc only.
const MADV_COLLAPSE: libc::c_int = 25;

/// Bytes at the start of a mapping that always stay writable: the smallest page size of any
/// machine.
const FIRST_PAGE: usize = 4096;

/// Types that consist of atomics. A reference to one in shared memory is sound, whatever other
/// processes write.
///
/// # Safety
///
/// The type is `repr(C)`, consists of atomics, has no padding, and any bytes are a valid value of
/// it.
pub(crate) unsafe trait Atomics {}

/// A whole file, mapped shared for reading and writing, or privately for reading.
///
/// Invariant: `len` bytes from `address()`, rounded up to whole pages, are mapped until the value
/// and all clones of its `pages` are dropped, and the first page stays writable. If `is_private`,
/// the other pages can only be read.
pub(crate) struct Mapping {
    /// Shared with owners that need the memory mapped after this value is dropped.
    pages: Arc<Pages>,
    len: usize,
    is_private: bool,
}

/// The pages of a mapping: mapped until this is dropped.
pub(crate) enum Pages {
    Anywhere(MmapRaw),
    Aligned(Aligned),
}

impl Mapping {
    /// Maps the first `len` bytes of a file that has at least that many. From 2 MiB on, the mapping
    /// is aligned so that the kernel can map huge pages.
    pub(crate) fn new(file: &File, len: usize, path: &Path) -> Result<Self> {
        if len >= HUGE_PAGE
            && let Ok(aligned) = Aligned::new(file, len)
        {
            return Ok(Self {
                pages: Arc::new(Pages::Aligned(aligned)),
                len,
                is_private: false,
            });
        }
        match MmapOptions::new().len(len).map_raw(file) {
            Ok(raw) => Ok(Self {
                pages: Arc::new(Pages::Anywhere(raw)),
                len,
                is_private: false,
            }),
            Err(_) if is_read_only(file) => Self::private(file, len, path),
            Err(error) => Err(map_error(error, path)),
        }
    }

    /// Maps a file that can only be read.
    fn private(file: &File, len: usize, path: &Path) -> Result<Self> {
        // SAFETY: no reference to the bytes is made from the map itself, which becomes a raw one at
        // once. Changes of the file by other processes are those that a shared mapping would see.
        let map = unsafe { MmapOptions::new().len(len).map_copy_read_only(file) };
        let raw = MmapRaw::from(map.map_err(|error| map_error(error, path))?);
        let first = len.min(rustix::param::page_size());
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the first page was mapped above, privately, and nothing refers to it yet.
        unsafe { mprotect(raw.as_mut_ptr().cast(), first, access) }
            .map_err(|errno| map_error(errno.into(), path))?;
        Ok(Self {
            pages: Arc::new(Pages::Anywhere(raw)),
            len,
            is_private: true,
        })
    }

    /// Whether no other process sees a write to it, because the file system is mounted read-only.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    #[inline]
    fn address(&self) -> *mut u8 {
        match &*self.pages {
            Pages::Anywhere(raw) => raw.as_mut_ptr(),
            Pages::Aligned(aligned) => aligned.address(),
        }
    }

    /// Gives the kernel advice that changes no byte, about `range` rounded outwards to whole pages.
    fn advise(&self, range: Range<usize>, advice: Advice) -> io::Result<()> {
        let start = range.start - range.start % rustix::param::page_size();
        let end = range.end.min(self.len);
        if start >= end {
            return Ok(());
        }
        // SAFETY: the pages are mapped (invariant). The advice that this module gives changes none
        // of their bytes.
        Ok(unsafe {
            madvise(
                self.address().wrapping_add(start).cast(),
                end - start,
                advice,
            )
        }?)
    }

    /// Maps all pages of a range now, and allocates those that the file does not have yet.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.advise(range, Advice::LinuxPopulateWrite)
    }

    /// Maps all pages of a range that the file has. Much cheaper than one page fault for the first
    /// write to each page.
    pub(crate) fn populate_from_file(&self, range: Range<usize>) -> io::Result<()> {
        self.advise(range, Advice::LinuxPopulateRead)
    }

    /// Leaves the mapping out of core dumps. By itself the kernel dumps shared files that have no
    /// name any more (`vma_dump_size`, fs/coredump.c).
    pub(crate) fn leave_out_of_dumps(&self) -> io::Result<()> {
        self.advise(0..self.len, Advice::LinuxDontDump)
    }

    /// Asks the kernel for huge pages. It follows on a file system that was mounted with an option
    /// that allows them.
    pub(crate) fn prefer_huge_pages(&self) -> io::Result<()> {
        self.advise(0..self.len, Advice::LinuxHugepage)
    }

    /// Whether the file has the page of this byte of the mapping. Maps the page, and raises no
    /// signal where there is none.
    ///
    /// # Errors
    ///
    /// `Unsupported` by a kernel that cannot tell (before Linux 5.14).
    pub(crate) fn has_page_at(&self, at: usize) -> io::Result<bool> {
        if at >= self.len {
            return Ok(false);
        }
        loop {
            let errno = match self.populate_from_file(at..at + 1) {
                Ok(()) => return Ok(true),
                Err(error) => error.raw_os_error().map(Errno::from_raw_os_error),
            };
            match errno {
                // Beyond the end of the file, or of its memory.
                Some(Errno::FAULT | Errno::NOMEM | Errno::HWPOISON) => return Ok(false),
                Some(Errno::INVAL) => return Err(io::ErrorKind::Unsupported.into()),
                Some(Errno::AGAIN | Errno::INTR) => {}
                Some(errno) => return Err(errno.into()),
                None => return Ok(false),
            }
        }
    }

    /// Collapses a range of whole huge pages into huge pages. Each piece of 2 MiB must have at
    /// least one page already.
    pub(crate) fn collapse(&self, range: Range<usize>) -> io::Result<()> {
        let is_whole = |at: usize| at.is_multiple_of(HUGE_PAGE);
        assert!(
            range.start <= range.end
                && range.end <= self.len
                && is_whole(range.start)
                && is_whole(range.end),
            "{range:?} are not huge pages of {} bytes",
            self.len
        );
        let start = self.address().wrapping_add(range.start);
        // SAFETY: the pages are mapped (assertion, invariant); collapsing changes none of their
        // bytes.
        match unsafe { libc::madvise(start.cast(), range.len(), MADV_COLLAPSE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Bytes of the mapping that are mapped by huge pages now. Slow: the kernel walks the tables of
    /// all mappings of the process.
    pub(crate) fn huge_len(&self) -> io::Result<usize> {
        let start = self.address().addr();
        let end = start + pages_of(self.len) * rustix::param::page_size();
        // Paths need not be UTF-8.
        let text = fs::read("/proc/self/smaps")?;
        Ok(smaps::huge_bytes(
            &String::from_utf8_lossy(&text),
            &(start..end),
        ))
    }

    /// Makes the pages that lie entirely in `range` read-only.
    pub(crate) fn protect(&self, range: Range<usize>, path: &Path) -> Result<()> {
        let start = range.start.next_multiple_of(rustix::param::page_size());
        if start >= range.end.min(self.len) {
            return Ok(());
        }
        let len = range.end.min(self.len) - start;
        let address = self.address().wrapping_add(start);
        // SAFETY: the pages from `start`, a page boundary of this mapping, to its end at most are
        // mapped (invariant); no reference that can write to them exists: either there is no
        // reference yet, or the array was frozen while it was held exclusively. Reads stay valid.
        unsafe { mprotect(address.cast(), len, MprotectFlags::READ) }
            .map_err(|errno| map_error(errno.into(), path))
    }

    /// Makes all pages writable again that [`protect`](Self::protect) protected, for the only owner
    /// of the pages. Returns false if there are others.
    pub(crate) fn unprotect(&mut self) -> io::Result<bool> {
        if Arc::get_mut(&mut self.pages).is_none() {
            return Ok(false);
        }
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the pages are mapped (invariant); no reference to them exists, because no other
        // owner has the pages and the caller has the mapping exclusively.
        unsafe { mprotect(self.address().cast(), self.len, access) }?;
        Ok(true)
    }

    /// Whether nothing else keeps the pages mapped.
    pub(crate) fn is_unshared(&mut self) -> bool {
        Arc::get_mut(&mut self.pages).is_some()
    }

    /// The atomics at offset `at`, in a file that may be shorter than its mapping. To access them
    /// raises SIGBUS unless the file has their page, so the caller knows that it has.
    #[inline]
    pub(crate) fn atomics_at<T: Atomics>(&self, at: usize) -> &T {
        let end = at + size_of::<T>();
        assert!(
            end <= self.len && at.is_multiple_of(align_of::<T>()),
            "atomics at {at} of {} bytes",
            self.len
        );
        let address = self.address().cast_const().wrapping_add(at).cast::<T>();
        // SAFETY: the bytes lie inside the mapping (asserted, invariant), of which no part is
        // protected against writing but by `protect`; the mapping starts at a page boundary, so the
        // address is aligned as `at` is (asserted); `T` consists of atomics ([`Atomics`]), for
        // which any bytes are valid and which other processes may change.
        unsafe { &*address }
    }

    /// A number of atomics one behind the other from offset `at` on; see
    /// [`atomics_at`](Self::atomics_at).
    #[inline]
    pub(crate) fn atomics_from<T: Atomics>(&self, at: usize, count: usize) -> &[T] {
        let end = at + count * size_of::<T>();
        assert!(
            end <= self.len && at.is_multiple_of(align_of::<T>()),
            "{count} atomics at {at} of {} bytes",
            self.len
        );
        let address = self.address().cast_const().wrapping_add(at).cast::<T>();
        // SAFETY: as in `atomics_at`, for each of them.
        unsafe { std::slice::from_raw_parts(address, count) }
    }

    /// The atomics at offset `at`, in the first page.
    #[inline]
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
        // (asserted, invariant); the mapping starts at a page boundary, so the address is aligned
        // as `at` is (asserted); `T` consists of atomics ([`Atomics`]), for which any bytes are
        // valid and which other processes may change.
        unsafe { &*address }
    }

    /// The address of a byte of the mapping, or of its end.
    #[inline]
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

    /// The pages, for an owner that needs them mapped for longer than this value lives.
    pub(crate) fn pages(&self) -> Arc<Pages> {
        self.pages.clone()
    }

    /// Whether a file of `len` bytes has as many pages as this mapping.
    pub(crate) fn has_pages_of(&self, len: usize) -> bool {
        pages_of(len) == pages_of(self.len)
    }

    /// Records a new length of the file, which ends in the same last page.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(
            self.has_pages_of(len),
            "{len} bytes have other pages than {}",
            self.len
        );
        self.len = len;
    }

    /// Sets a range to zero, in a file that no other process knows yet.
    pub(crate) fn clear(&mut self, range: Range<usize>) {
        copy::clear(self.bytes_mut(range));
    }

    /// Writes bytes into the mapping of a file that no other process knows yet.
    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        copy::copy(self.bytes_mut(offset..offset + bytes.len()), bytes);
    }

    /// Bytes of a file that no other process knows yet. Not those of the state block of a recycled
    /// file: a process that opened the file before may still read them.
    fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "{range:?} lies outside of {} bytes",
            self.len
        );
        // SAFETY: the range lies inside the mapping (asserted, invariant), which is writable and
        // initialised, as every page of a file is; nothing else refers to it while the slice lives,
        // because the caller has the mapping exclusively and no other process knows the file.
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
        // every page of a file is; nothing writes it (the caller's promise).
        unsafe { std::slice::from_raw_parts(self.address().wrapping_add(range.start), range.len()) }
    }

    /// Writes the file's pages to its disk, and waits for the end of the write.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.flush_range(0..self.len)
    }

    /// [`flush`](Self::flush) for the pages of a range.
    pub(crate) fn flush_range(&self, range: Range<usize>) -> io::Result<()> {
        let end = range.end.min(self.len);
        let start = range.start - range.start % rustix::param::page_size();
        if start >= end {
            return Ok(());
        }
        let address = self.address().wrapping_add(start);
        // SAFETY: the pages are mapped (invariant); `msync` writes them to the file and changes no
        // byte of them.
        Ok(unsafe { msync(address.cast(), end - start, MsyncFlags::SYNC) }?)
    }
}

fn pages_of(len: usize) -> usize {
    len.div_ceil(rustix::param::page_size())
}

/// The error of a failed mapping. The kernel reports ENOMEM both for too many mappings and for too
/// little address space.
fn map_error(source: io::Error, path: &Path) -> Error {
    if source.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) {
        let limit = fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let count = count_mappings().unwrap_or(0);
        // A change of protection splits one mapping into up to three.
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

/// The number of mappings of this process. Read in pieces: a process that cannot map may not be
/// able to allocate much either.
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
