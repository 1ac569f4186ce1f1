//! The trait of a variant in Rust: the steps that every way of handing over an array can do.

use std::path::{Path, PathBuf};

/// An error ends one variant's part of a run; its text goes into the document.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The place for a variant's files while it runs: a directory on tmpfs. Its name is the prefix of
/// every name outside of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
}

impl Place {
    /// The place at `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The prefix of the names of shared memory.
    pub fn prefix(&self) -> String {
        self.directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// The role of one of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Makes arrays and releases them.
    Producer,
    /// Opens and reads them.
    Consumer,
}

/// One way to hand an array of `f64` to another process. A producer and a consumer are made in
/// processes of their own.
pub trait Peer: Sized {
    /// An array in the process that made it.
    type Made;
    /// An array in the process that opened it.
    type Opened;
    /// Whether an array can be published more than once.
    const RESENDS: bool = true;

    /// The peer in one of the two processes. `greeting` is the text of the producer's
    /// [`greeting`](Self::greeting), and empty in the producer.
    fn new(role: Role, place: &Place, greeting: &str) -> Result<Self>;
    /// The text that the consumer needs beforehand.
    fn greeting(&self) -> String {
        "-".into()
    }
    /// The producer's part of the connection, after the consumer was started.
    fn meet(&mut self) -> Result<()> {
        Ok(())
    }
    /// Prepares for `arrays` arrays of `len` elements at the same time. Not measured.
    fn prepare(&mut self, _len: usize, _arrays: usize) -> Result<()> {
        Ok(())
    }
    /// Cleans up after [`prepare`](Self::prepare). Not measured.
    fn finish(&mut self) {}

    /// Makes an array with these elements that other processes can open.
    #[expect(clippy::ptr_arg, reason = "one of the peers writes whole vectors only")]
    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made>;
    /// Makes an array without writing its elements; `None` if the variant cannot.
    fn create_empty(&mut self, _len: usize) -> Result<Option<Self::Made>> {
        Ok(None)
    }
    /// Publishes the array as one line by which the consumer opens it.
    fn publish(&mut self, made: &mut Self::Made) -> Result<String>;
    /// Frees the memory.
    fn release(&mut self, made: Self::Made) -> Result<()>;

    /// Opens a published array.
    fn open(&mut self, token: &str, len: usize) -> Result<Self::Opened>;
    /// The consumer's step for the name of an array that it has open already.
    fn again(&mut self, _held: &mut Self::Opened, _token: &str) -> Result<()> {
        Ok(())
    }
    /// Reads the elements.
    fn read<R>(&mut self, opened: &mut Self::Opened, reader: impl FnOnce(&[f64]) -> R)
    -> Result<R>;
    /// Closes the array in the consumer.
    fn close(&mut self, opened: Self::Opened) -> Result<()> {
        drop(opened);
        Ok(())
    }
}
