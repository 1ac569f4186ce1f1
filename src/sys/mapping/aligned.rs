//! Mappings that start at a multiple of the huge page size. The kernel maps a huge page as one only
//! at such an address.

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::{
    ffi::c_void,
    fs::File,
    io,
    ptr::{self, NonNull},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes of a huge page: the memory that one entry of a page table's second level maps where pages
/// have 4 KiB.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Address of the last mapping that was unmapped, or zero. The next mapping probably fits there,
/// and the kernel refuses if it does not.
static FREED: AtomicUsize = AtomicUsize::new(0);

/// The first bytes of a file, mapped shared for reading and writing.
///
/// Invariant: `len` bytes from `address`, rounded up to whole pages, are mapped until the value is
/// dropped, and no other value owns them.
pub(crate) struct Aligned {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: the value is an address and a length; any thread may drop it, and the memory at the
// address is shared with other processes anyway.
unsafe impl Send for Aligned {}
// SAFETY: as above; a shared reference only returns the address.
unsafe impl Sync for Aligned {}

impl Aligned {
    pub(super) fn new(file: &File, len: usize) -> io::Result<Self> {
        if let Some(address) =
            NonNull::new(ptr::with_exposed_provenance_mut(FREED.swap(0, Relaxed)))
            && let Ok(mapped) = Self::at(address.as_ptr(), file, len)
        {
            return Ok(mapped);
        }
        // Find a free range that is large enough to contain an aligned address. If another thread
        // maps there first, the kernel refuses below.
        let reserved = len
            .checked_add(HUGE_PAGE)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: no address is asked for, so the kernel chooses an unused range.
        let free = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                reserved,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: the range was mapped above, and nothing refers to it.
        unsafe { munmap(free, reserved) }?;
        Self::at(
            free.wrapping_byte_add(free.addr().next_multiple_of(HUGE_PAGE) - free.addr()),
            file,
            len,
        )
    }

    /// Maps at an address, or fails if something is mapped there.
    fn at(address: *mut c_void, file: &File, len: usize) -> io::Result<Self> {
        let (protection, flags) = (
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED | MapFlags::FIXED_NOREPLACE,
        );
        // SAFETY: with `FIXED_NOREPLACE` the kernel replaces no existing mapping.
        let mapped = unsafe { mmap(address, len, protection, flags, file, 0) }?;
        let address = NonNull::new(mapped.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, len })
    }

    #[inline]
    pub(super) fn address(&self) -> *mut u8 {
        self.address.as_ptr()
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and every holder of an address in it keeps the
        // mapping alive.
        if unsafe { munmap(self.address().cast(), self.len) }.is_ok() {
            FREED.store(self.address().expose_provenance(), Relaxed);
        }
    }
}
