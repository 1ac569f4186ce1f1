//! The shared words of an array and their protocols, without I/O.
//!
//! - `block`: the state block, its words, and the protocol of recycling.
//! - `lanes`: the lanes of a store, one for each guard, and how a thread gets one.
//! - `rests`: the bytes that a lane reserves. Its thread takes guards there without the lock word.
//! - `lock_table`: guards, waiting, poison, and the death of a holder.
//! - `changes`: numbers of the guards that wrote, and threads that wait for one.
//! - `growth`: the words of an array that grows, turns of appenders, and waits for rows.
//! - `ring`: rings of frames, their producer and subscribers; `ring_snapshot`: the same words from
//!   copied bytes.
//! - `signals`: words that threads sleep on until an event.
//! - `ownership`: the process that deletes the array, and claims.
//! - `mapped`: the state block inside a mapped file, and the count of openers.
//!
//! Processes change these words at any time and may die between any two instructions, so every
//! protocol promises a usable state after each single access. No value in them is trusted: any
//! bytes are a valid block. All words, futexes and clocks come from `crate::sync`, so `models/`
//! compiles this folder, without `mapped`, and runs it in every order. Nothing here opens, names or
//! deletes a file: the callers in `segment` do.

pub(crate) mod block;
pub(crate) mod changes;
pub(crate) mod growth;
pub(crate) mod lanes;
#[cfg_attr(test, allow(unsafe_code, reason = "tests make a block of zeros"))]
pub(crate) mod lock_table;
#[allow(unsafe_code)]
pub(crate) mod mapped;
pub(crate) mod ownership;
pub(crate) mod rests;
pub(crate) mod ring;
pub(crate) mod ring_snapshot;
pub(crate) mod signals;
pub(crate) mod snapshot;
