//! A descriptor that is compared before each use.
//!
//! Other code of the process may close its number, or give the number to another file:
//! `os.closerange` does. A number that was lost once stays lost. The same file may come back at it
//! through another description, on which this process holds no lock.

use super::fs::inode_of_file;
use std::{
    fs::File,
    io,
    os::fd::IntoRawFd,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// An open file, for as long as its number names it.
pub(crate) struct OwnFile {
    /// `None` only while this is dropped.
    file: Option<File>,
    /// Device and inode.
    inode: (u64, u64),
    is_lost: AtomicBool,
}

impl OwnFile {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            inode: inode_of_file(&file)?,
            file: Some(file),
            is_lost: AtomicBool::new(false),
        })
    }

    /// Device and inode of the file.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// The file, if the process never lost the descriptor as far as it knows. Async-signal-safe.
    pub(crate) fn get(&self) -> Option<&File> {
        let file = self.file.as_ref()?;
        if self.is_lost.load(SeqCst) {
            return None;
        }
        match inode_of_file(file) {
            Ok(found) if found == self.inode => return Some(file),
            Err(error) if error.raw_os_error() != Some(libc::EBADF) => {}
            Ok(_) | Err(_) => self.is_lost.store(true, SeqCst),
        }
        None
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Where the kernel does not tell, nothing says that the number is not this file's: left
        // open, it would keep its locks.
        if self.get().is_none() && *self.is_lost.get_mut() {
            // Closed already; the number may be another file's.
            let _ = self.file.take().map(File::into_raw_fd);
        }
    }
}
