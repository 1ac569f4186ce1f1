//! Mappings that start at a multiple of the size of a huge page: only there the kernel can map a
//! huge page as one.

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, msync, munmap};
use std::{
    ffi::c_void,
    fs::File,
    io,
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes of a huge page: of what one entry of a page table's second level maps, where pages have 4
/// KiB.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Where such a mapping was until a moment ago: the next one is likely to fit there, and the kernel
/// says if it does not. Zero where none was.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// The first bytes of a file, mapped shared for reading and writing.
///
/// Invariant: `len` bytes from `address`, rounded up to whole pages, are mapped until the value is
/// dropped, and belong to nobody else.
pub(super) struct Aligned {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: the value is an address and a length; it may be dropped in any thread, and what lies at
// the address is shared with other processes anyway.
unsafe impl Send for Aligned {}
// SAFETY: as above; nothing is done through a shared reference but to tell the address and to
// flush.
unsafe impl Sync for Aligned {}

impl Aligned {
    pub(super) fn new(file: &File, len: usize) -> io::Result<Self> {
        if let Some(address) =
            NonNull::new(ptr::with_exposed_provenance_mut(FREED.swap(0, Relaxed)))
            && let Ok(mapped) = Self::at(address.as_ptr(), file, len)
        {
            return Ok(mapped);
        }
        // A range that is large enough to have such an address in it is free at the moment. If
        // somebody is faster the kernel refuses.
        let reserved = len
            .checked_add(HUGE_PAGE)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: no address is asked for, so the kernel takes a range that nobody uses.
        let free = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                reserved,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: mapped above, and nothing refers to it.
        unsafe { munmap(free, reserved) }?;
        Self::at(
            free.wrapping_byte_add(free.addr().next_multiple_of(HUGE_PAGE) - free.addr()),
            file,
            len,
        )
    }

    /// Maps at an address, unless something is mapped there.
    fn at(address: *mut c_void, file: &File, len: usize) -> io::Result<Self> {
        let (protection, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED_NOREPLACE,
        );
        // SAFETY: the kernel replaces no mapping that is there.
        let mapped = unsafe { mmap(address, len, protection, flags, file, 0) }?;
        let address = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, len })
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    pub(super) fn flush(&self) -> io::Result<()> {
        // SAFETY: the range is mapped (invariant); its pages are written to the file, which changes
        // nothing that is seen here.
        Ok(unsafe {
            msync(
                self.address().cast(),
                self.len,
                rustix::mm::MsyncFlags::SYNC,
            )
        }?)
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and whoever was given an address in it keeps the
        // mapping alive.
        if unsafe { munmap(self.address().cast(), self.len) }.is_ok() {
            FREED.store(self.address().expose_provenance(), Relaxed);
        }
    }
}
