//! Typed n-dimensional arrays that many processes share without copying.
//!
//! ```
//! use ndarray::prelude::*;
//! use ndshm::{Handle, Manager, SharedArray};
//!
//! fn main() -> ndshm::Result<()> {
//!     let manager = Manager::new()?; // a store on tmpfs, deleted when its owner ends
//!     let xs = manager.from_shape_fn::<f64, _>(1_000_000, |i| i as f64)?;
//!     let left = xs.slice(s![..500_000])?; // the same memory
//!     let text = left.handle().to_string(); // for arguments, the environment, a socket, JSON, ...
//!
//!     // In any other process of this user:
//!     let left: SharedArray<f64, Ix1> = text.parse::<Handle>()?.open()?;
//!     println!("{:?}", left.read()?.mean()); // a guard is an ndarray array
//!     left.write()?.mapv_inplace(f64::sqrt); // exclusive on this view's bytes only
//!     Ok(())
//! }
//! ```
//!
//! Each array is one memory-mapped file in a store directory, on tmpfs by default. A handle to it,
//! or to any view of it, is a plain value of a few bytes that any process of the same user opens,
//! also after exec. A scope says which process deletes an array. A store outlives a crash and is
//! opened again by its path.
//!
//! # Choose by need
//!
//! - Arrays for the workers of this run: [`Manager::new`], [`SharedArray::axis_chunks`],
//!   [`SharedArray::handle`], [`Handle::open`]; see [worker pools](guide::worker_pools).
//! - Arrays that a crashed workflow finds again: [`Manager::open_or_create`],
//!   [`ArrayOptions::open_or_zeros`], [`SharedArray::recover`]; see [resume](guide::resume).
//! - Arrays that never change again: [`SharedArray::freeze`], [`Handle::open_frozen_timeout`]; see
//!   [producer and consumers](guide::frozen_frames).
//! - A stream of frames, the newest or every one: [`ArrayOptions::ring`], [`Ring::produce`],
//!   [`Ring::subscribe`], [`Ring::subscribe_lossless`]; see [rings](guide::rings).
//! - Rows that are appended while others read: [`ArrayOptions::growing`] returns a
//!   [`GrowingArray`]; see [growing arrays](guide::growing).
//! - Elements: [`SharedArray::read`] and [`SharedArray::write`] return a [`ReadGuard`] and a
//!   [`WriteGuard`], which are ndarray arrays.
//! - Counters and flags: [`SharedArray::atomic`] returns an [`AtomicArray`].
//! - A part of an array: [`slice`](SharedArray::slice), [`index_axis`](SharedArray::index_axis),
//!   [`field`](SharedArray::field) and the other views of a [`SharedArray`].
//! - Structs as elements: `#[derive(Element)]`; see [`Element`](trait@Element).
//! - Names, attributes, axis names, a [`Scope`]: [`Manager::options`] returns [`ArrayOptions`].
//! - Code for all types: [`AnyArray`], [`dispatch!`]; see
//!   [run-time types](guide::run_time_types).
//! - Another directory, timeouts, huge pages, recycled memory: [`Manager::builder`] returns a
//!   [`Builder`]; see [where it runs](guide::where_it_runs).
//! - The content of a store: [`Manager::list`], [`Manager::usage`]; from outside, with locks and
//!   owners, [`Observer`]; its soundness, [`verify`](fn@verify).
//! - Deletion: drop local arrays; for others [`SharedArray::release`], [`Manager::remove`],
//!   [`Manager::close`]; for leftovers of dead processes [`Manager::sweep`].
//! - Files of other formats: [`Export::npy`], [`Import::npy`] and the other verbs of [`Export`] and
//!   [`Import`].
//!
//! Arrays, handles and managers are serde values too. [The guide](guide) has a page for each larger
//! topic, and one for [users of other libraries](guide::coming_from).
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `derive`, on by default | `#[derive(Element)]` for structs |
//! | `half`, on by default | the elements `f16` and `bf16` |
//! | `complex`, on by default | the elements `Complex<f32>` and `Complex<f64>` |
//! | `nalgebra` | its matrices and vectors of fixed size as elements |
//! | `rayon` | large arrays copied by several threads; ndarray's parallel iterators over guards |
//! | `dlpack` | `FrozenArray::to_dlpack`: frozen arrays for other libraries, without a copy |
//! | `zip`, `safetensors` | files of these formats, written and read |
//! | `tracing` | events: arrays and stores made, opened, claimed, released, swept; poison |
//!
//! The command-line tool `ndshm` is a crate of its own, `ndshm-cli`.
//!
//! # What it is not
//!
//! - Not for several users or machines: a store is a directory that only its user may enter.
//! - Not a queue: send handles by any means you have. Not a database: arrays are changed in place.
//! - Not for values that are more than their bytes: no `String`, no `Vec`, no enums.
//! - Not for other systems than Linux.
//!
//! # Status
//!
//! The file format has version 1, and later versions of the library will always read it. The
//! interface may change until version 1.0. Minimum Rust: 1.89.
//!
//! # Pitfalls
//!
//! - **The manager is dropped first.** An array does not keep its store alive. A function that
//!   returns `Manager::new()?.zeros(..)` returns an array whose store is already deleted: the array
//!   is usable, but no process can open it. Keep the manager for as long as handles travel.
//! - **Arrays made in children.** A [`Scope::Local`] array is deleted with the process that made
//!   it. For an array that the parent keeps, let the child use [`Scope::Remote`] or
//!   [`Scope::Store`].
//! - **Exit without drop.** `process::exit`, `abort` and signals drop nothing. The arrays and
//!   stores that such a process owned stay until a sweep. Every [`Manager::new`] sweeps; with
//!   [`Builder::janitor`] a deserted store is deleted without a sweep.
//! - **Leaked guards** hold their lock until their process ends. A leaked write guard then leaves
//!   poison.
//! - **Poison** marks bytes that were *being* written when a writer died or panicked. It does not
//!   tell which parts were never started. Keep a `done` array for that, and set its entry after the
//!   guard of each part is dropped, by [`atomic`](SharedArray::atomic), which a death cannot
//!   poison.
//! - **`close` deletes.** [`Manager::close`] deletes the store with all its arrays, a persistent
//!   one too. To leave a persistent store, drop the manager.
//! - **Ambiguous methods.** Where a function takes `&ArrayRef`, pass `&*guard`; compare by
//!   `*guard == array`. `slice` and its siblings on a *guard* are ndarray's and give ndarray views;
//!   on the *array* they give shared arrays.
//!
//! # Safety
//!
//! No sequence of safe calls, no handle, no header and no crash of another process gives undefined
//! behaviour. [The page on safety](guide::safety) gives the reasons and the limits. The assumption
//! is that every process that writes to a store, which belongs to one user, uses this library. A
//! process that writes to the files by other means could as well write to the memory of the other
//! processes. No safe interface can prevent that (the standard library treats `/proc/self/mem` the
//! same way). The promises hold for the death of processes. After a loss of power only
//! [flushed](SharedArray::flush) bytes in persistent stores on a disk remain.

// Badges of features beside the items that need them, where documentation is hosted.
#![cfg_attr(docsrs, feature(doc_cfg))]
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little"
)))]
compile_error!(
    "ndshm needs 64-bit, little-endian Linux: arrays are mapped whole, processes share words of 64 \
     bits, and files and exports say that elements are little-endian"
);

#[macro_use]
mod event;
#[cfg(not(feature = "failpoints"))]
#[macro_use]
mod failpoint;
#[cfg(feature = "failpoints")]
#[doc(hidden)]
#[macro_use]
pub mod failpoint;

mod array;
mod cbor;
#[allow(unsafe_code)]
mod element;
mod error;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, reason = "no part of the interface")]
pub mod fuzzing;
#[cfg(test)]
mod golden;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handle;
mod inspect;
mod interop;
#[cfg(test)]
mod layers;
mod layout;
mod manager;
mod ring;
mod scope;
mod segment;
mod state;
mod store;
mod sync;
mod sys;

pub use array::any::{AnyArray, MappedMemory};
pub use array::atomic::{AtomicArray, AtomicElement};
pub use array::frozen::FrozenArray;
pub use array::growing::{AnyGrowing, AnyReserved, GrowingArray, Reserved};
pub use array::guard::{ReadGuard, WriteGuard};
pub use array::together::{LockSet, Reading, Updating, Writing, lock, lock_timeout, try_lock};
pub use array::{
    SharedArray, SharedArray0, SharedArray1, SharedArray2, SharedArray3, SharedArray4,
    SharedArray5, SharedArray6, SharedArrayD,
};
pub use element::dtype::{DType, Field};
pub use element::numpy::NumpyDType;
pub use element::{Bool, Element};
pub use error::{Error, HeaderError, Result};
pub use format::id::ArrayId;
pub use format::kind::ArrayKind;
pub use handle::Handle;
pub use inspect::holder::{Holder, Holders};
pub use inspect::info::ArrayInfo;
pub use inspect::observer::{
    ArrayState, GuardKind, GuardState, Leftovers, LockState, MemberState, Observer, RingState,
    SubscriberState, UserRoot,
};
pub use inspect::verify::{Finding, Severity, Verification, verify};
#[cfg(feature = "zarr")]
pub use interop::{
    Bucket, Checkpoint, Checkpointed, DirectoryBucket, Listed, Listing, Object, Part, Restore,
    Restored, Structs, Version,
};
pub use interop::{Export, Exportable, Import, Imported, Left};
pub use layout::Order;
pub use manager::builder::Builder;
pub use manager::options::ArrayOptions;
pub use manager::{Manager, Usage};
pub use ring::{
    AnyFrame, AnyFrameMut, AnyProducer, AnyRing, AnySubscriber, Frame, FrameInfo, FrameMut,
    Producer, Ring, Subscriber,
};
pub use scope::Scope;
pub use store::Swept;
pub use store::settings::HugePages;
pub use sys::wait::{is_interrupted, set_interrupt_check};

/// Makes a `Clone + Copy` struct with `repr(C)` an [`Element`](trait@Element). Its fields are
/// elements, `[T; N]` of elements, and other such structs, without padding.
///
/// The struct becomes bytemuck's `Pod` too; write `#[element(pod)]` if it is `Pod` already. Fields
/// keep their names; those of tuple structs are `f0`, `f1`, ... as in NumPy. A generic struct needs
/// `T: Element`, and fields of one type only. The compiler refuses other types, with the reason.
///
/// ```
/// use ndshm::{Element, Manager};
///
/// #[derive(Clone, Copy, Debug, PartialEq, Element)]
/// #[repr(C)]
/// struct Particle {
///     position: [f32; 3],
///     charge: f32,
///     id: u64,
/// }
///
/// let manager = Manager::new()?;
/// let particles = manager.from_shape_fn(100, |i| Particle {
///     position: [i as f32; 3],
///     charge: -1.0,
///     id: i as u64,
/// })?;
/// assert_eq!(particles.read()?[7].id, 7);
/// particles.field::<f32>("charge")?.write()?.fill(1.0);
/// assert_eq!(particles.field_array::<f32>("position")?.read()?[[7, 2]], 7.0);
/// # Ok::<(), ndshm::Error>(())
/// ```
#[cfg(feature = "derive")]
pub use ndshm_derive::Element;

/// Items for the code of the macros, and for this project's tool and Python package.
#[doc(hidden)]
pub mod __private {
    pub use crate::element::Element;
    pub use crate::inspect::holder::words;
    pub use crate::sys::process::trusted_variable;
    pub use bytemuck;
    pub use ndarray::IxDyn;

    /// The fields of a struct, as the derive macro describes them. The trait stands here so that
    /// the macro brings no name into the scope of the struct.
    pub trait Struct {
        const FIELDS: &'static [crate::Field];

        /// Compiles only if the struct has the fields that the macro saw.
        fn fields_are_as_declared(&self);
    }

    pub mod scalar {
        pub use crate::Bool;
        #[cfg(feature = "half")]
        pub use half::{bf16, f16};
        #[cfg(feature = "complex")]
        pub use num_complex::{Complex32, Complex64};
        pub use std::primitive::{f32, f64, i8, i16, i32, i64, i128, u8, u16, u32, u64, u128};
    }
}

/// The derive macro's code names the library by its crate name, also in the library's own tests.
#[cfg(test)]
extern crate self as ndshm;
