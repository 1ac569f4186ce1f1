//! The traits of a variant: one direction of a stream of frames between processes.

use super::variants::Variant;
use crate::peer::{Place, Result};
use std::path::PathBuf;

/// The frames of a stream, where a variant has several.
pub const FRAMES: usize = 8;

/// What both ends of a stream know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The variant.
    pub variant: &'static Variant,
    /// Bytes of a frame.
    pub bytes: usize,
    /// Receivers of a stream.
    pub consumers: usize,
    /// Where files go.
    pub place: Place,
    /// A store of ndshm.
    pub store: PathBuf,
}

impl Options {
    /// The name of one of the streams, unique in the run.
    pub fn name(&self, stream: &str) -> String {
        format!(
            "{}-{}-{}-{stream}",
            self.variant.name, self.bytes, self.consumers
        )
    }

    /// The path of a file of one of the streams.
    pub fn path(&self, stream: &str) -> PathBuf {
        self.place.directory.join(self.name(stream))
    }
}

/// The end of a stream that sends.
pub trait Sender: Sized {
    /// Opens the stream of this name, or makes it.
    fn open(options: &Options, stream: &str) -> Result<Self>;

    /// Sends a frame: takes memory for it, calls `ready`, lets `write` write the memory, and
    /// publishes it. Returns the value of `ready`.
    fn send<T>(
        &mut self,
        ready: impl FnOnce() -> Result<T>,
        write: impl FnOnce(&mut [u8], &T),
    ) -> Result<T>;

    /// Sends a copy of a whole frame.
    #[expect(clippy::ptr_arg, reason = "one of the peers sends whole vectors only")]
    fn send_copy(&mut self, source: &Vec<u8>) -> Result<()> {
        self.send(|| Ok(()), |frame, ()| frame.copy_from_slice(source))
    }
}

/// The end of a stream that receives.
pub trait Receiver: Sized {
    /// Opens the stream of this name, or makes it.
    fn open(options: &Options, stream: &str) -> Result<Self>;

    /// Waits for a frame, and reads it.
    fn receive<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<T>;
}
