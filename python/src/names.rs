//! Whether nothing but names refers to an object: variables of the functions that are running, or
//! whose frames an exception keeps.
//!
//! A guard asks this of its ndarray when its block ends. What is only named can be emptied in
//! place, and whoever uses the name sees nothing any more. Anything else that refers to it (a view,
//! a memoryview, an iterator over it, a DLPack capsule) may hold the address of its memory, and
//! nobody can take that back. So references are counted: each must be one that was found as a
//! variable.
//!
//! Up to Python 3.12 looking at a function's variables makes a dictionary of them, which the frame
//! keeps. What is not somebody else's is taken out of it again, because it would keep the user's
//! objects alive.

use pyo3::{ffi, intern, prelude::*, sync::PyOnceLock, types::PyDict};

/// `CO_OPTIMIZED`: the variables of the code are no dictionary of its own.
const OPTIMIZED: u32 = 1;

static GETFRAME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: `object` is a live object, and the thread is attached to the interpreter.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Whether all references to `object`, but the `known` ones that the caller holds, are variables of
/// running functions or of frames of `traceback`.
pub(crate) fn are_all(
    object: &Bound<'_, PyAny>,
    known: isize,
    traceback: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let py = object.py();
    let mut search = Search {
        object,
        known,
        seen: Vec::new(),
    };
    if search.is_done() {
        return Ok(true);
    }
    let getframe = GETFRAME.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("_getframe")?.unbind())
    })?;
    let mut frame = getframe.bind(py).call0()?;
    while !frame.is_none() {
        if search.look_at(&frame)? {
            return Ok(true);
        }
        frame = frame.getattr(intern!(py, "f_back"))?;
    }
    let mut next = traceback.cloned();
    while let Some(traceback) = next.filter(|traceback| !traceback.is_none()) {
        if search.look_at(&traceback.getattr(intern!(py, "tb_frame"))?)? {
            return Ok(true);
        }
        next = Some(traceback.getattr(intern!(py, "tb_next"))?);
    }
    Ok(false)
}

struct Search<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    /// References that are accounted for.
    known: isize,
    /// Frames and dictionaries that were looked at, by address: they live as long as the search.
    seen: Vec<Bound<'py, PyAny>>,
}

impl<'py> Search<'_, 'py> {
    fn is_done(&self) -> bool {
        references(self.object) == self.known
    }

    fn is_new(&mut self, object: &Bound<'py, PyAny>) -> bool {
        let is_new = !self.seen.iter().any(|seen| seen.is(object));
        if is_new {
            self.seen.push(object.clone());
        }
        is_new
    }

    /// Counts the variables of a frame, and says whether they were the last.
    fn look_at(&mut self, frame: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = frame.py();
        if !self.is_new(frame) {
            return Ok(false);
        }
        let code = frame.getattr(intern!(py, "f_code"))?;
        let is_optimized =
            code.getattr(intern!(py, "co_flags"))?.extract::<u32>()? & OPTIMIZED != 0;
        let locals = frame.getattr(intern!(py, "f_locals"))?;
        match locals.cast::<PyDict>() {
            Ok(namespace) if !is_optimized => {
                if self.is_new(namespace) {
                    self.known += namespace
                        .iter()
                        .filter(|(_, value)| value.is(self.object))
                        .count() as isize;
                }
            }
            Ok(snapshot) => {
                // The frame's own reference, and `locals`: otherwise somebody else uses the
                // dictionary.
                let is_private = references(snapshot) == 2;
                // A variable that belongs to another function is counted there: both see one cell.
                for (group, is_own) in [
                    ("co_varnames", true),
                    ("co_cellvars", true),
                    ("co_freevars", false),
                ] {
                    for name in code.getattr(group)?.try_iter()? {
                        let name = name?;
                        let Some(value) = snapshot.get_item(&name)? else {
                            continue;
                        };
                        self.known += isize::from(is_own && value.is(self.object));
                        drop(value);
                        if is_private {
                            snapshot.del_item(&name)?;
                        }
                    }
                }
                // What is left in it refers to the object too.
                self.known += snapshot
                    .iter()
                    .filter(|(_, value)| value.is(self.object))
                    .count() as isize;
            }
            Err(_) => {
                let free = code.getattr("co_freevars")?;
                for name in locals.call_method0("keys")?.try_iter()? {
                    let name = name?;
                    let is_own = !free.contains(&name)?;
                    self.known += isize::from(is_own && locals.get_item(&name)?.is(self.object));
                }
            }
        }
        // A function may have declared the name to be global.
        if !self.is_done() {
            let globals = frame.getattr(intern!(py, "f_globals"))?;
            if let Ok(globals) = globals.cast::<PyDict>()
                && self.is_new(globals)
            {
                self.known += globals
                    .iter()
                    .filter(|(_, value)| value.is(self.object))
                    .count() as isize;
            }
        }
        Ok(self.is_done())
    }
}
