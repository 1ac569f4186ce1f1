//! The frames of a ring, as arrays that the commands look at.

use crate::failure::{Code, Failure, printable};
use ndshm::{AnyArray, AnyFrame, Handle, Manager, Order};
use std::path::Path;

/// A copy of the newest frame of the ring that a handle names.
pub(crate) fn newest_frame(handle: &Handle) -> Result<AnyArray, Failure> {
    let ring = handle.open_any_ring()?;
    match ring.subscribe()?.latest()? {
        Some(frame) => array_of(handle, &frame),
        None => Err(Failure::new(
            Code::NotFound,
            format!(
                "{}: no frame was published yet; ndshm show --watch waits for one",
                name_of(handle)
            ),
        )),
    }
}

/// A copy of a frame. It has no name in the store any more, so a process that is killed leaves
/// nothing there.
pub(crate) fn array_of(handle: &Handle, frame: &AnyFrame) -> Result<AnyArray, Failure> {
    let store = handle.path().parent().unwrap_or(Path::new("/"));
    let manager = Manager::open(store)?;
    let options = manager.options();
    let (dtype, shape) = (frame.dtype(), frame.shape());
    let copy = options.from_bytes(dtype, &shape, Order::C, frame.bytes())?;
    copy.release()?;
    Ok(copy)
}

/// The failure of a command that would write a ring.
pub(crate) fn not_writable(handle: &Handle) -> Failure {
    Failure::usage(format!(
        "{}: it is a ring, which only its producer writes; ndshm show, plot and export take its \
         newest frame, ndshm rm deletes it",
        name_of(handle)
    ))
}

fn name_of(handle: &Handle) -> String {
    let stem = handle.path().file_stem().unwrap_or_default();
    printable(&stem.to_string_lossy())
}
