//! A store with many arrays: creating and opening others in it beside an empty store, and the cost
//! of a sweep.

use crate::{
    floors::PAGE,
    micro::{calls, once, rotate},
    peer::{Place, Result},
    peers::ndshm::{DEFAULT, manager},
    plan::SMALL,
    results::Results,
};
use ndarray::Ix1;
use ndshm::{Manager, Scope};
use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
};

/// Reads a page of every file in a directory: the minimum that looks at each file.
fn look_at_all(directory: &Path) -> Result<usize> {
    let mut page = [0; PAGE];
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let file = File::open(entry?.path())?;
        file.read_at(&mut page, 0)?;
        black_box(&page);
        count += 1;
    }
    Ok(count)
}

/// Makes an array that no process has open.
fn leave(manager: &Manager) -> Result<ndshm::Handle> {
    Ok(manager
        .options()
        .scope(Scope::Store)
        .zeros::<f64, _>(SMALL / 8)?
        .handle())
}

/// Measures with `arrays` in the store and with none.
pub fn run(results: &mut Results, place: &Place, arrays: usize, is_quick: bool) -> Result<()> {
    eprintln!("a store with {arrays} arrays");
    let (few, many) = (
        manager(&place.directory, DEFAULT)?,
        manager(&place.directory, DEFAULT)?,
    );
    for _ in 0..arrays {
        leave(&many)?;
    }
    let rounds = if is_quick { 10 } else { 60 };
    let handles = (leave(&few)?, leave(&many)?);
    let make = |manager: &Manager| Ok(manager.zeros::<f64, _>(SMALL / 8)?);
    let creates = vec![
        ("empty store", once(|| make(&few))),
        ("full store", once(|| make(&many))),
    ];
    rotate(results, "store_create", SMALL, (rounds, 20), creates)?;
    let open = |handle: &ndshm::Handle| Ok(handle.open::<f64, Ix1>()?);
    let opens = vec![
        ("empty store", calls(1, || open(&handles.0))),
        ("full store", calls(1, || open(&handles.1))),
    ];
    rotate(results, "store_open", SMALL, (rounds, 20), opens)?;
    let sweeps = vec![
        ("ndshm", once(|| Ok(many.sweep()?))),
        ("by hand", once(|| look_at_all(many.path()))),
    ];
    rotate(
        results,
        "sweep",
        SMALL,
        (if is_quick { 2 } else { 6 }, 1),
        sweeps,
    )
}
