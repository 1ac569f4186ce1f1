//! Typed n-dimensional arrays that many processes share without copying.
#![allow(missing_docs)]

mod array;
mod builder;
mod cbor;
mod draft;
mod dtype;
#[allow(unsafe_code)]
mod element;
mod error;
#[allow(unsafe_code)]
mod fork;
mod format;
mod grip;
#[allow(unsafe_code)]
mod guard;
mod handle;
mod header;
mod hold;
mod id;
mod info;
mod layout;
#[allow(unsafe_code)]
mod lock_file;
mod manager;
#[allow(unsafe_code)]
mod mapping;
mod member;
mod options;
mod scope;
mod segment;
mod span;
mod state;
mod store;
mod trust;
#[allow(unsafe_code)]
mod view;

pub use array::{SharedArray, SharedArray0, SharedArray1, SharedArray2, SharedArray3, SharedArray4, SharedArray5, SharedArray6, SharedArrayD};
pub use builder::Builder;
pub use dtype::DType;
pub use element::{Bool, Element};
pub use error::{Error, HeaderError, Result};
pub use guard::{ReadGuard, WriteGuard};
pub use handle::Handle;
pub use id::ArrayId;
pub use info::ArrayInfo;
pub use layout::Order;
pub use manager::{Manager, Usage};
pub use options::ArrayOptions;
pub use scope::Scope;
pub use store::Swept;
