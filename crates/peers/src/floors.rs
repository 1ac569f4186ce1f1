//! The floors of the same jobs: bare system calls, and a heap that is not shared.
#![allow(unsafe_code, reason = "a floor maps and reads memory by hand")]

use crate::{
    bytes::{bytes_of, elements_of},
    peer::{Peer, Place, Result, Role},
};
use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags},
    mm::{MapFlags, ProtFlags},
};
use std::{
    ffi::c_void,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    ptr,
};

/// Where the elements of a file begin, as in the files of the library.
pub const PAGE: usize = 4096;

/// A shared mapping by bare calls.
pub struct Mapped {
    address: *mut c_void,
    len: usize,
}

impl Mapped {
    fn new(file: &File, len: usize) -> Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; the descriptor is open.
        let address = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0)
        }?;
        Ok(Self { address, len })
    }

    /// The bytes after the first page.
    pub fn payload(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped and reserved in the file, whose length is more than a
        // page; no process writes them while the consumer reads.
        unsafe {
            std::slice::from_raw_parts(
                self.address.cast::<u8>().wrapping_add(PAGE),
                self.len - PAGE,
            )
        }
    }

    fn payload_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `payload`; this process made the file, and no other process knows its name
        // yet.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.address.cast::<u8>().wrapping_add(PAGE),
                self.len - PAGE,
            )
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no reference to it outlives the value.
        let _ = unsafe { rustix::mm::munmap(self.address, self.len) };
    }
}

/// A file of a page and `len` bytes: made, reserved, its first page written, mapped.
pub fn create_by_hand(path: &Path, len: usize) -> Result<Mapped> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(
        CWD,
        path,
        flags,
        Mode::RUSR | Mode::WUSR,
    )?);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, (PAGE + len) as u64)?;
    file.write_all_at(&[1; PAGE], 0)?;
    Mapped::new(&file, PAGE + len)
}

/// A file that exists: opened, asked for its size, its first page read, mapped, closed.
pub fn open_by_hand(path: &Path) -> Result<Mapped> {
    let file = File::from(rustix::fs::openat(
        CWD,
        path,
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let len = rustix::fs::fstat(&file)?.st_size as usize;
    let mut page = [0; PAGE];
    file.read_exact_at(&mut page, 0)?;
    std::hint::black_box(&page);
    Mapped::new(&file, len)
}

/// Bare system calls on files.
pub struct Raw {
    directory: PathBuf,
    next: usize,
}

impl Raw {
    fn path(&mut self) -> PathBuf {
        self.next += 1;
        self.directory.join(format!("raw-{}", self.next))
    }
}

impl Peer for Raw {
    type Made = (PathBuf, Mapped);
    type Opened = Mapped;

    fn new(_role: Role, place: &Place, _greeting: &str) -> Result<Self> {
        Ok(Self {
            directory: place.directory.clone(),
            next: 0,
        })
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made> {
        let path = self.path();
        let mut mapped = create_by_hand(&path, bytes_of(source).len())?;
        mapped.payload_mut().copy_from_slice(bytes_of(source));
        Ok((path, mapped))
    }

    fn create_empty(&mut self, len: usize) -> Result<Option<Self::Made>> {
        let path = self.path();
        let mapped = create_by_hand(&path, len * 8)?;
        Ok(Some((path, mapped)))
    }

    fn publish(&mut self, made: &mut Self::Made) -> Result<String> {
        Ok(made.0.display().to_string())
    }

    fn release(&mut self, (path, mapped): Self::Made) -> Result<()> {
        drop(mapped);
        Ok(std::fs::remove_file(path)?)
    }

    fn open(&mut self, token: &str, _len: usize) -> Result<Mapped> {
        open_by_hand(Path::new(token))
    }

    fn read<R>(&mut self, opened: &mut Mapped, reader: impl FnOnce(&[f64]) -> R) -> Result<R> {
        Ok(reader(elements_of(opened.payload())))
    }
}

/// Nothing is shared: each process has a warm heap buffer of its own.
pub struct Heap {
    buffer: Vec<f64>,
}

impl Peer for Heap {
    type Made = ();
    type Opened = ();

    fn new(_role: Role, _place: &Place, _greeting: &str) -> Result<Self> {
        Ok(Self { buffer: Vec::new() })
    }

    fn prepare(&mut self, len: usize, _arrays: usize) -> Result<()> {
        self.buffer = crate::bytes::source(len);
        Ok(())
    }

    fn finish(&mut self) {
        self.buffer = Vec::new();
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<()> {
        self.buffer.copy_from_slice(source);
        std::hint::black_box(&mut self.buffer);
        Ok(())
    }

    fn publish(&mut self, _made: &mut ()) -> Result<String> {
        Ok("-".into())
    }

    fn release(&mut self, _made: ()) -> Result<()> {
        Ok(())
    }

    fn open(&mut self, _token: &str, _len: usize) -> Result<()> {
        Ok(())
    }

    fn read<R>(&mut self, _opened: &mut (), reader: impl FnOnce(&[f64]) -> R) -> Result<R> {
        Ok(reader(std::hint::black_box(&self.buffer)))
    }
}
