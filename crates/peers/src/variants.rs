//! The registry: every variant of the comparison, and the type of each one in Rust.

use crate::{
    floors,
    peer::{Peer, Result},
    peers,
};

/// The role of a variant in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The minimum that the kernel or the heap needs for the same job.
    Floor,
    /// This library.
    Own,
    /// Another library in Rust.
    Rust,
    /// Another library in Python.
    Python,
}

/// One variant: a column of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name in commands and results.
    pub name: &'static str,
    /// Its name in the document.
    pub label: &'static str,
    /// Its role in the comparison.
    pub kind: Kind,
    /// The calls that do the work, in a few words.
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
        "no sharing: create is a memcpy into a warm heap buffer, a hand-over is a ping and a sum \
         of the receiver's own heap",
    ),
    variant(
        "raw",
        "system calls (floor)",
        Kind::Floor,
        "openat(O_EXCL), fallocate, mmap, copy; openat, fstat, pread of a page, mmap, close; \
         munmap, unlink",
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
        "the same from a manager that keeps all released files for reuse (`recycle(4 << 30)`), not \
         only those of small arrays for a moment",
    ),
    variant(
        "ndshm-fresh",
        "**ndshm, new files**",
        Kind::Own,
        "the same from a manager that keeps none (`recycle(0)`)",
    ),
    variant(
        "memmap2",
        "memmap2 by hand",
        Kind::Rust,
        "a file on tmpfs: `create_new`, `set_len`, `MmapMut::map_mut`, `copy_from_slice`; \
         `Mmap::map`; `remove_file`",
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
        "a new `Synchronizer` for each array: `write` of a `Vec<f64>`; `read` without \
         `check_bytes`",
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
        "create is a copy in the heap; every opening sends the pickled ndarray through a \
         `multiprocessing.Pipe`",
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

/// An action on a type that is chosen by its name.
pub trait Visitor {
    /// Runs the action.
    fn visit<P: Peer>(self) -> Result<()>;
}

/// Calls the visitor with the type of the Rust variant `name`.
pub fn with_peer(name: &str, visitor: impl Visitor) -> Result<()> {
    match name {
        "heap" => visitor.visit::<floors::Heap>(),
        "raw" => visitor.visit::<floors::Raw>(),
        "ndshm" => visitor.visit::<peers::ndshm::Ndshm<{ peers::ndshm::DEFAULT }>>(),
        "ndshm-recycled" => visitor.visit::<peers::ndshm::Ndshm<{ peers::ndshm::RECYCLED }>>(),
        "ndshm-fresh" => visitor.visit::<peers::ndshm::Ndshm<{ peers::ndshm::FRESH }>>(),
        "memmap2" => visitor.visit::<peers::memmap2::Memmap2>(),
        "shared_memory" => visitor.visit::<peers::shared_memory::SharedMemory>(),
        "ipc-channel" => visitor.visit::<peers::ipc_channel::IpcChannel>(),
        "iceoryx2" => visitor.visit::<peers::iceoryx2::Iceoryx2>(),
        "mmap-sync" => visitor.visit::<peers::mmap_sync::MmapSync<false>>(),
        "mmap-sync-again" => visitor.visit::<peers::mmap_sync::MmapSync<true>>(),
        other => Err(format!("no variant in Rust is called {other}").into()),
    }
}
