//! The search for references to an ndarray that are not variables.
//!
//! When the block of a guard ends, the guard empties its ndarray in place. A variable that refers
//! to the ndarray then shows an empty array. Any other reference (a view, a memoryview, an
//! iterator, a DLPack capsule) may hold the address of the memory, which no function can take back.
//! So the guard counts references: each must be a variable of a running function, or of a frame
//! that an exception keeps.
//!
//! Up to Python 3.12 reading a function's variables creates a dictionary of them, which the frame
//! keeps. The search removes its own entries again, because they would keep the user's objects
//! alive. It leaves a dictionary alone that other code uses.

use crate::export::references;
use pyo3::{intern, prelude::*, sync::PyOnceLock, types::PyDict};

/// `CO_OPTIMIZED`: the code keeps its variables outside of a dictionary.
const OPTIMIZED: u32 = 1;

static GETFRAME: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Whether all references to `object`, except the `known` ones that the caller holds, are variables
/// of running functions or of frames of `traceback`.
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
    if search.is_complete() {
        return Ok(true);
    }
    let getframe = GETFRAME.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("_getframe")?.unbind())
    })?;
    let mut frame = getframe.bind(py).call0()?;
    while !frame.is_none() {
        if search.visit(&frame)? {
            return Ok(true);
        }
        frame = frame.getattr(intern!(py, "f_back"))?;
    }
    let mut next = traceback.cloned();
    while let Some(traceback) = next.filter(|traceback| !traceback.is_none()) {
        if search.visit(&traceback.getattr(intern!(py, "tb_frame"))?)? {
            return Ok(true);
        }
        next = Some(traceback.getattr(intern!(py, "tb_next"))?);
    }
    Ok(false)
}

struct Search<'a, 'py> {
    object: &'a Bound<'py, PyAny>,
    /// How many references are accounted for.
    known: isize,
    /// The visited frames and dictionaries. They live as long as the search, so that no address is
    /// used twice.
    seen: Vec<Bound<'py, PyAny>>,
}

impl<'py> Search<'_, 'py> {
    fn is_complete(&self) -> bool {
        references(self.object) == self.known
    }

    /// Marks a frame or dictionary as visited; false if it was visited before.
    fn mark(&mut self, object: &Bound<'py, PyAny>) -> bool {
        let is_new = !self.seen.iter().any(|seen| seen.is(object));
        if is_new {
            self.seen.push(object.clone());
        }
        is_new
    }

    /// Counts the variables of a frame, and returns whether all references are accounted for.
    fn visit(&mut self, frame: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = frame.py();
        if !self.mark(frame) {
            return Ok(false);
        }
        let code = frame.getattr(intern!(py, "f_code"))?;
        let is_optimized =
            code.getattr(intern!(py, "co_flags"))?.extract::<u32>()? & OPTIMIZED != 0;
        let locals = frame.getattr(intern!(py, "f_locals"))?;
        match locals.cast::<PyDict>() {
            Ok(namespace) if !is_optimized => self.count_namespace(namespace),
            Ok(snapshot) => self.count_snapshot(&code, snapshot)?,
            Err(_) => self.count_proxy(&code, &locals)?,
        }
        // A function may have declared the name to be global.
        if !self.is_complete() {
            let globals = frame.getattr(intern!(py, "f_globals"))?;
            if let Ok(globals) = globals.cast::<PyDict>() {
                self.count_namespace(globals);
            }
        }
        Ok(self.is_complete())
    }

    /// Counts the variables of a module or class body, which live in this dictionary.
    fn count_namespace(&mut self, namespace: &Bound<'py, PyDict>) {
        if self.mark(namespace) {
            self.known += entries(namespace, self.object);
        }
    }

    /// Counts the variables of a function up to Python 3.12: `snapshot` is the dictionary that the
    /// frame made of them.
    fn count_snapshot(
        &mut self,
        code: &Bound<'py, PyAny>,
        snapshot: &Bound<'py, PyDict>,
    ) -> PyResult<()> {
        // One reference is the frame's, one the caller's. Any further one belongs to other code,
        // which uses the dictionary.
        let is_private = references(snapshot) == 2;
        // A free variable is counted in the function that owns it: both functions share one cell.
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
        // The remaining entries refer to the object too.
        self.known += entries(snapshot, self.object);
        Ok(())
    }

    /// Counts the variables of a function since Python 3.13: `locals` is a proxy that holds no
    /// references.
    fn count_proxy(
        &mut self,
        code: &Bound<'py, PyAny>,
        locals: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let free = code.getattr("co_freevars")?;
        for name in locals.call_method0("keys")?.try_iter()? {
            let name = name?;
            let is_own = !free.contains(&name)?;
            self.known += isize::from(is_own && locals.get_item(&name)?.is(self.object));
        }
        Ok(())
    }
}

/// How many entries of a dictionary have `object` as their value.
fn entries(dict: &Bound<'_, PyDict>, object: &Bound<'_, PyAny>) -> isize {
    dict.iter().filter(|(_, value)| value.is(object)).count() as isize
}
