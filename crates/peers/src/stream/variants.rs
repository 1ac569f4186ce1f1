//! The variants of the streams.

use super::{
    iceoryx2::{SampleReceiver, SampleSender},
    link::{Receiver, Sender},
    mmap_sync::{ValueReceiver, ValueSender},
    ndshm::{RingReceiver, RingSender},
    socket::{SocketReceiver, SocketSender},
    words::Word,
};
use crate::peer::Result;

/// The implementation of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// A word that is spun on.
    Flag,
    /// A word that is slept on.
    Futex,
    /// This library.
    Ndshm,
    /// iceoryx2.
    Iceoryx2,
    /// mmap-sync.
    MmapSync,
    /// A socket.
    Socket,
    /// A script in Python.
    Python,
}

/// One way to stream frames.
#[derive(Debug)]
pub struct Variant {
    /// Its name in the results.
    pub name: &'static str,
    /// Its name in the document.
    pub label: &'static str,
    /// Its implementation.
    pub library: Library,
    /// Whether the next frame is taken before the message comes.
    pub is_early: bool,
    /// Whether receivers spin.
    pub is_spinning: bool,
    /// Whether the sender waits for receivers.
    pub is_lossless: bool,
    /// Whether a frame of which little is touched is copied all the same.
    pub copies: bool,
}

const BASE: Variant = Variant {
    name: "",
    label: "",
    library: Library::Flag,
    is_early: false,
    is_spinning: false,
    is_lossless: false,
    copies: false,
};

const fn variant(name: &'static str, label: &'static str, library: Library) -> Variant {
    Variant {
        name,
        label,
        library,
        ..BASE
    }
}

const fn spinning(mut variant: Variant, is_early: bool) -> Variant {
    variant.is_spinning = true;
    variant.is_early = is_early;
    variant
}

const fn lossless(mut variant: Variant) -> Variant {
    variant.is_lossless = true;
    variant
}

const fn copying(mut variant: Variant) -> Variant {
    variant.copies = true;
    variant
}

use Library::{Flag, Futex, Iceoryx2, MmapSync, Ndshm, Python, Socket};

/// Both ends spin.
pub const SPINNING: &[Variant] = &[
    spinning(variant("flag", "a bare flag", Flag), true),
    spinning(
        variant("ring-early", "**ndshm**, `next()` before", Ndshm),
        true,
    ),
    spinning(
        variant("ring-late", "**ndshm**, `next()` in the loop", Ndshm),
        false,
    ),
    spinning(
        variant("iox2-early", "iceoryx2, loan before", Iceoryx2),
        true,
    ),
    spinning(
        variant("iox2-late", "iceoryx2, loan in the loop", Iceoryx2),
        false,
    ),
];

/// Both ends sleep, but for the one that can only poll.
pub const SLEEPING: &[Variant] = &[
    variant("futex", "a bare futex", Futex),
    variant("ring", "**ndshm**", Ndshm),
    variant("iox2-event", "iceoryx2 with its event", Iceoryx2),
    copying(spinning(
        variant("mmap-sync", "mmap-sync, polling", MmapSync),
        false,
    )),
    copying(variant("socket", "Unix socket", Socket)),
    variant(
        "py-queue",
        "Python: `multiprocessing.Queue` and `SharedMemory`",
        Python,
    ),
    variant("py-pyshmem", "Python: pyshmem with `notify`", Python),
];

/// One sender, all of each frame is written and read.
pub const THROUGHPUT: &[Variant] = &[
    variant("alone", "one process: a copy, and a sum", Flag),
    lossless(variant("ring-lossless", "**ndshm**, lossless", Ndshm)),
    lossless(variant(
        "iox2-lossless",
        "iceoryx2 with its event, blocking",
        Iceoryx2,
    )),
    lossless(variant("socket-whole", "Unix socket", Socket)),
    variant("ring-newest", "**ndshm**, newest wins", Ndshm),
    variant(
        "iox2-newest",
        "iceoryx2 with its event, newest wins",
        Iceoryx2,
    ),
];

/// Many sleeping receivers.
pub const CROWD: &[Variant] = &[
    variant("futex-crowd", "a bare futex that wakes all", Futex),
    variant("ring-crowd", "**ndshm**", Ndshm),
];

/// The camera.
pub const CAMERA: &[Variant] = &[
    variant("alone", "one process: a copy, and a sum", Flag),
    variant("ring-camera", "**ndshm**", Ndshm),
];

/// The ring that makes no system call.
pub const QUIET: &[Variant] = &[spinning(variant("ring-quiet", "**ndshm**", Ndshm), false)];

/// The variant of this name.
pub fn find(name: &str) -> Result<&'static Variant> {
    let all = [SPINNING, SLEEPING, THROUGHPUT, CROWD, CAMERA, QUIET];
    let mut all = all.into_iter().flatten();
    Ok(all
        .find(|variant| variant.name == name)
        .ok_or_else(|| format!("no variant {name}"))?)
}

/// Something that works with the ends of any variant.
pub trait Visitor {
    /// Does it.
    fn visit<S: Sender, R: Receiver>(self) -> Result<()>;
}

/// Calls the visitor with the ends of a library.
pub fn with_ends(library: Library, visitor: impl Visitor) -> Result<()> {
    match library {
        Flag => visitor.visit::<Word<false>, Word<false>>(),
        Futex => visitor.visit::<Word<true>, Word<true>>(),
        Ndshm => visitor.visit::<RingSender, RingReceiver>(),
        Iceoryx2 => visitor.visit::<SampleSender, SampleReceiver>(),
        MmapSync => visitor.visit::<ValueSender, ValueReceiver>(),
        Socket => visitor.visit::<SocketSender, SocketReceiver>(),
        Python => Err("a variant in Python has a script".into()),
    }
}
