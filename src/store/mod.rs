//! Stores: directories of arrays, and the processes that are members of them.
//!
//! A store appears complete, by one rename ([`create`](mod@create)), and disappears by another
//! ([`remove`](mod@remove)). A process that uses a store is a member of it ([`member`]): the kernel
//! holds a byte lock for each member and frees it when the process ends, so a sweep
//! ([`sweep`](mod@sweep)) can tell which stores have no process any more.

mod closing;
mod create;
pub(crate) mod deadlock;
pub(crate) mod directory;
mod idle;
pub(crate) mod janitor;
pub(crate) mod lane_pool;
pub(crate) mod listing;
#[allow(unsafe_code)]
pub(crate) mod lock_page;
pub(crate) mod lock_snapshot;
pub(crate) mod mapping_cache;
pub(crate) mod member;
pub(crate) mod member_locks;
pub(crate) mod permissions;
pub(crate) mod plan;
mod reader;
pub(crate) mod recycle_pool;
mod remove;
pub(crate) mod settings;
pub(crate) mod sweep;
pub(crate) mod temporary;
pub(crate) mod thread_lanes;
pub(crate) mod unready;

pub use sweep::Swept;

pub(crate) use create::create;
pub(crate) use permissions::resolve;
pub(crate) use reader::StoreReader;
pub(crate) use remove::{check_removable, finish_closing, remove};
pub(crate) use sweep::{sweep, sweep_when_deserted};
