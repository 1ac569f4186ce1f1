//! Tests of processes that are killed amid a checkpoint or a restore.

use ndarray::Ix1;
use ndshm::{Bucket, Manager, Restore};
use std::{os::unix::process::ExitStatusExt, process::Child};

/// Whether a child came to its end, where it prints `survived`. Else it was killed.
pub(crate) fn survives(child: Child) -> bool {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let survived = text.contains("survived");
    assert!(
        survived || output.status.signal() == Some(9),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    survived
}

/// The number that the arrays `xs` and `ys` of a checkpoint have in all elements. `manager` is of
/// an empty store.
pub(crate) fn number_of(manager: &Manager, restore: Restore<'_>, bucket: &dyn Bucket) -> f64 {
    restore.read(manager, bucket).unwrap();
    let numbers = ["xs", "ys"].map(|name| {
        let array = manager.array::<f64, Ix1>(name).unwrap();
        let elements = array.read().unwrap();
        assert!(elements.iter().all(|element| *element == elements[0]));
        elements[0]
    });
    assert_eq!(numbers[0], numbers[1]);
    numbers[0]
}
