//! `shared_memory`: POSIX shared memory by name.
#![allow(unsafe_code, reason = "the crate gives its bytes to unsafe code only")]

use crate::{
    bytes::{bytes_of, elements_of},
    peer::{Peer, Place, Result, Role},
};
use shared_memory::{Shmem, ShmemConf};

/// Segments whose names begin with the run's prefix.
pub struct SharedMemory {
    prefix: String,
    next: usize,
}

impl SharedMemory {
    fn make(&mut self, byte_len: usize) -> Result<Shmem> {
        self.next += 1;
        Ok(ShmemConf::new()
            .os_id(format!("/{}-shm-{}", self.prefix, self.next))
            .size(byte_len)
            .create()?)
    }
}

impl Peer for SharedMemory {
    type Made = Shmem;
    type Opened = Shmem;

    fn new(_role: Role, place: &Place, _greeting: &str) -> Result<Self> {
        Ok(Self {
            prefix: place.prefix(),
            next: 0,
        })
    }

    fn create(&mut self, source: &Vec<f64>) -> Result<Shmem> {
        let mut made = self.make(bytes_of(source).len())?;
        // SAFETY: the segment is new, so no other process reads or writes it yet.
        unsafe { made.as_slice_mut() }.copy_from_slice(bytes_of(source));
        Ok(made)
    }

    fn create_empty(&mut self, len: usize) -> Result<Option<Shmem>> {
        Ok(Some(self.make(len * 8)?))
    }

    fn publish(&mut self, made: &mut Shmem) -> Result<String> {
        Ok(made.get_os_id().into())
    }

    fn release(&mut self, made: Shmem) -> Result<()> {
        drop(made);
        Ok(())
    }

    fn open(&mut self, token: &str, _len: usize) -> Result<Shmem> {
        Ok(ShmemConf::new().os_id(token).open()?)
    }

    fn read<R>(&mut self, opened: &mut Shmem, reader: impl FnOnce(&[f64]) -> R) -> Result<R> {
        // SAFETY: the producer does not write after it has published.
        let bytes = unsafe { opened.as_slice() };
        Ok(reader(elements_of(bytes)))
    }
}
