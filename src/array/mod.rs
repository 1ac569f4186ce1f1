//! The arrays that users hold: `SharedArray`, `AnyArray`, `FrozenArray`, `AtomicArray`, and their
//! guards.
//!
//! `core` has every verb once: the properties of an array, its views, access to its elements, its
//! opening. `shared` and `any` are the public types over it, which name and document the verbs.
//! `lock` takes and gives back the locks of guards, and `hold` keeps their segments mapped.
//! `together` takes several. `refusal` makes the error of a lock that could not be had;
//! `obstacles` finds the processes that it names. `guard` joins a lock with a view of the locked
//! elements, and `owner` says whose thread's guard it is. `view` is the one place where a payload
//! becomes an ndarray view.
//!
//! `growing` has the arrays whose rows are appended; their rows are frozen arrays.
//!
//! Methods of [`Handle`](crate::Handle) that open arrays stand in `open` and `frozen`.

pub(crate) mod any;
#[allow(unsafe_code)]
pub(crate) mod atomic;
mod changes;
mod core;
mod create;
mod dispatch;
#[allow(unsafe_code)]
pub(crate) mod frozen;
pub(crate) mod growing;
#[allow(unsafe_code)]
pub(crate) mod guard;
#[allow(unsafe_code)]
mod hold;
mod lock;
mod lock_word;
pub(crate) mod obstacles;
mod open;
pub(crate) mod open_array;
mod owner;
mod refusal;
pub(crate) mod serde;
mod shared;
mod snapshot;
pub(crate) mod together;
#[allow(unsafe_code)]
mod unlocked;
#[allow(unsafe_code)]
pub(crate) mod view;
mod waiting;

pub(crate) use create::{Content, Labels, create, create_any, draft_any, from_ndarray, spec_of};
pub(crate) use open::open_named;
pub use shared::{
    SharedArray, SharedArray0, SharedArray1, SharedArray2, SharedArray3, SharedArray4,
    SharedArray5, SharedArray6, SharedArrayD,
};
