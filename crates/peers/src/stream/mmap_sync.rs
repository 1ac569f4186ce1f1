//! mmap-sync: a value that one process replaces. It has no way to wait, so receivers poll.
#![allow(
    unsafe_code,
    reason = "the crate leaves it to the reader to be done in time"
)]

use super::link::{Options, Receiver, Sender};
use crate::{peer::Result, peers::mmap_sync::GRACE};
use mmap_sync::synchronizer::Synchronizer;
use std::hint::spin_loop;

/// The synchronizer that writes, and a frame to write.
pub struct ValueSender {
    synchronizer: Box<Synchronizer>,
    frame: Vec<u8>,
}

impl Sender for ValueSender {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Ok(Self {
            synchronizer: Box::new(Synchronizer::new(options.path(stream).as_os_str())),
            frame: vec![0; options.bytes],
        })
    }

    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T> {
        let value = ready()?;
        write(&mut self.frame, &value);
        self.synchronizer.write(&self.frame, GRACE)?;
        Ok(value)
    }

    fn send_copy(&mut self, source: &Vec<u8>) -> Result<()> {
        self.synchronizer.write(source, GRACE)?;
        Ok(())
    }
}

/// A synchronizer that reads.
pub struct ValueReceiver {
    synchronizer: Box<Synchronizer>,
    /// The number that the last frame began with.
    seen: [u8; 8],
}

impl Receiver for ValueReceiver {
    fn open(options: &Options, stream: &str) -> Result<Self> {
        Ok(Self {
            synchronizer: Box::new(Synchronizer::new(options.path(stream).as_os_str())),
            seen: [0; 8],
        })
    }

    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        loop {
            // SAFETY: the bytes were written by `write` as a `Vec<u8>`; the writer waits for the
            // lock of this result for `GRACE`, far longer than the result lives.
            let found = unsafe { self.synchronizer.read::<Vec<u8>>(false) };
            // Before the first value there is nothing to read.
            if let Ok(found) = found
                && let Some(number) = found.as_slice().first_chunk()
                && *number != self.seen
            {
                self.seen = *number;
                return Ok(read(found.as_slice()));
            }
            spin_loop();
        }
    }
}
