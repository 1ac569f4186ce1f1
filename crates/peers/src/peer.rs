//! What every variant can do, and which variants there are.

use crate::{floors, peers};
use std::path::{Path, PathBuf};

/// Whatever goes wrong ends one variant's part of a run; its text goes into the document.
pub type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Where a variant may leave files while it runs: a directory on tmpfs, whose name is the prefix of
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

    /// What names of shared memory begin with.
    pub fn prefix(&self) -> String {
        self.directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// Which of the two processes one is.
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

    /// The grip of one of the two processes; `greeting` is what the producer's
    /// [`greeting`](Self::greeting) said, and empty in the producer.
    fn new(role: Role, place: &Place, greeting: &str) -> Result<Self>;
    /// What the consumer has to know beforehand.
    fn greeting(&self) -> String {
        "-".into()
    }
    /// The producer's part of what is needed after the consumer was started.
    fn meet(&mut self) -> Result<()> {
        Ok(())
    }
    /// Before arrays of `len` elements are made, `arrays` of them at the same time. Not measured.
    fn prepare(&mut self, _len: usize, _arrays: usize) -> Result<()> {
        Ok(())
    }
    /// After that. Not measured.
    fn finish(&mut self) {}

    /// An array with these elements, that others can open.
    #[expect(clippy::ptr_arg, reason = "one of the peers writes whole vectors only")]
    fn create(&mut self, source: &Vec<f64>) -> Result<Self::Made>;
    /// An array that nobody wrote to; `None` where there is no such thing.
    fn create_empty(&mut self, _len: usize) -> Result<Option<Self::Made>> {
        Ok(None)
    }
    /// One line that the consumer opens the array by.
    fn publish(&mut self, made: &mut Self::Made) -> Result<String>;
    /// Gives the memory back.
    fn release(&mut self, made: Self::Made) -> Result<()>;

    /// Opens what was published.
    fn open(&mut self, token: &str, len: usize) -> Result<Self::Opened>;
    /// What a consumer does that gets the name of an array which it has open already.
    fn again(&mut self, _held: &mut Self::Opened, _token: &str) -> Result<()> {
        Ok(())
    }
    /// Reads the elements.
    fn read<R>(&mut self, opened: &mut Self::Opened, reader: impl FnOnce(&[f64]) -> R)
    -> Result<R>;
    /// Gives the consumer's grip back.
    fn close(&mut self, opened: Self::Opened) -> Result<()> {
        drop(opened);
        Ok(())
    }
}

/// What a variant is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The least that the kernel or the heap needs for the same job.
    Floor,
    /// This library.
    Own,
    /// Something in Rust.
    Rust,
    /// Something in Python.
    Python,
}

/// One variant: a column of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name in commands and results.
    pub name: &'static str,
    /// Its name in the document.
    pub label: &'static str,
    /// What it is compared as.
    pub kind: Kind,
    /// How it does the work, in a few words.
    pub how: &'static str,
}

const fn variant(
    name: &'static str,
    label: &'static str,
    kind: Kind,
    how: &'static str,
) -> Variant {
    Variant {
        name,
        label,
        kind,
        how,
    }
}

/// Every variant, in the order of the document.
pub const VARIANTS: &[Variant] = &[
    variant(
        "heap",
        "heap (floor)",
        Kind::Floor,
        "no sharing: create is a memcpy into a warm heap buffer, a hand-over is a ping and a sum of the receiver's own heap",
    ),
    variant(
        "raw",
        "system calls (floor)",
        Kind::Floor,
        "openat(O_EXCL), fallocate, mmap, copy; openat, fstat, pread of a page, mmap, close; munmap, unlink",
    ),
    variant(
        "ndshm",
        "**ndshm**",
        Kind::Own,
        "`from_ndarray`; the handle as text; `open`, `read`; `drop`",
    ),
    variant(
        "ndshm-recycled",
        "**ndshm, recycled**",
        Kind::Own,
        "the same from a manager that recycles what was released",
    ),
    variant(
        "memmap2",
        "memmap2 by hand",
        Kind::Rust,
        "a file on tmpfs: `create_new`, `set_len`, `MmapMut::map_mut`, `copy_from_slice`; `Mmap::map`; `remove_file`",
    ),
    variant(
        "shared_memory",
        "shared_memory 0.12",
        Kind::Rust,
        "`ShmemConf::create` and a copy; `ShmemConf::os_id(..).open`; drop of the owner",
    ),
    variant(
        "ipc-channel",
        "ipc-channel 0.23",
        Kind::Rust,
        "`IpcSharedMemory::from_bytes`, sent through an `IpcSender` each time",
    ),
    variant(
        "iceoryx2",
        "iceoryx2 0.10",
        Kind::Rust,
        "publish-subscribe of `[f64]`: `loan_slice_uninit`, `write_from_slice`, `send`; `receive`",
    ),
    variant(
        "mmap-sync",
        "mmap-sync 2",
        Kind::Rust,
        "a new `Synchronizer` for each array: `write` of a `Vec<f64>`; `read` without `check_bytes`",
    ),
    variant(
        "mmap-sync-again",
        "mmap-sync 2, one for all",
        Kind::Rust,
        "one `Synchronizer`, whose two files are written in turns",
    ),
    variant(
        "py-shared-memory",
        "multiprocessing.shared_memory",
        Kind::Python,
        "`SharedMemory(create=True)`, `np.copyto`; `SharedMemory(name)`; `close`, `unlink`",
    ),
    variant(
        "py-manager",
        "SharedMemoryManager",
        Kind::Python,
        "the same through a manager's server process",
    ),
    variant(
        "py-memmap",
        "numpy.memmap",
        Kind::Python,
        "`np.memmap` of a file on tmpfs, mode `w+`, then `r`",
    ),
    variant(
        "py-pickle",
        "pickled through a Pipe",
        Kind::Python,
        "create is a copy in the heap; every opening sends the pickled ndarray through a `multiprocessing.Pipe`",
    ),
    variant(
        "py-joblib",
        "joblib",
        Kind::Python,
        "`joblib.dump` to tmpfs, `joblib.load(mmap_mode=\"r\")`",
    ),
    variant(
        "py-SharedArray",
        "SharedArray",
        Kind::Python,
        "`SharedArray.create`, `np.copyto`; `attach`; `delete`",
    ),
    variant(
        "py-jztools",
        "jztools",
        Kind::Python,
        "`XSharedMemoryManager.from_ndarray`; the pickled `xndarray`; `release`",
    ),
];

/// What is done with a type that is chosen by its name.
pub trait Visitor {
    /// Does it.
    fn visit<P: Peer>(self) -> Result<()>;
}

/// Calls the visitor with the type of the variant in Rust that is called `name`.
pub fn with_peer(name: &str, visitor: impl Visitor) -> Result<()> {
    match name {
        "heap" => visitor.visit::<floors::Heap>(),
        "raw" => visitor.visit::<floors::Raw>(),
        "ndshm" => visitor.visit::<peers::ndshm::Ndshm<false>>(),
        "ndshm-recycled" => visitor.visit::<peers::ndshm::Ndshm<true>>(),
        "memmap2" => visitor.visit::<peers::memmap2::Memmap2>(),
        "shared_memory" => visitor.visit::<peers::shared_memory::SharedMemory>(),
        "ipc-channel" => visitor.visit::<peers::ipc_channel::IpcChannel>(),
        "iceoryx2" => visitor.visit::<peers::iceoryx2::Iceoryx2>(),
        "mmap-sync" => visitor.visit::<peers::mmap_sync::MmapSync<false>>(),
        "mmap-sync-again" => visitor.visit::<peers::mmap_sync::MmapSync<true>>(),
        other => Err(format!("no variant in Rust is called {other}").into()),
    }
}
