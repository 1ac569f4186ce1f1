//! The `with` blocks that enclose a wait: the guards that a waiting thread keeps until its wait is
//! over.
//!
//! # Whose guard is it?
//!
//! Any thread may end the block of a guard: one that has the guard in an `ExitStack`, an executor
//! that runs `__exit__`, one that resumes a generator. The library must not search for deadlocks by
//! such guards, because another thread may give them back at any time. So all guards of blocks are
//! *unbound*: no thread's.
//!
//! A block that a `with` statement started ends only when its function goes on. As long as the
//! frame of this function is on the stack of a thread, below a call that waits, the function does
//! not go on. So the thread keeps the guard until the wait is over, and for this time the guard is
//! *bound* to it. A frame that is on no stack, of a generator or a coroutine that is suspended,
//! binds nothing.
//!
//! Frames decide here which deadlocks are found, never how long a guard lives.
//!
//! # Signals
//!
//! A handler that runs in the middle of a wait may wait too, with guards that it gives back before
//! the first wait goes on. It binds none of them.

use crate::signals;
use pyo3::{ffi, intern, prelude::*, sync::PyOnceLock, types::PyBytes};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A context manager of guards.
pub(crate) trait Manager:
    pyo3::PyClass<Frozen = pyo3::pyclass::boolean_struct::True> + Sync
{
    /// Binds the guards of the block to the calling thread, or unbinds them. Runs no Python code.
    fn bind(&self, is_bound: bool);
}

/// A block that a `with` statement started, and that has not ended.
struct Entered {
    /// The frame of the statement. It is kept, so that no other one gets its address.
    frame: Py<PyAny>,
    manager: Py<PyAny>,
    bind: Bind,
}

type Bind = fn(&Bound<'_, PyAny>, bool);

/// The blocks of all threads. No Python code runs while it is locked.
static ENTERED: Mutex<Vec<Entered>> = Mutex::new(Vec::new());

fn entered() -> MutexGuard<'static, Vec<Entered>> {
    ENTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind_one<M: Manager>(manager: &Bound<'_, PyAny>, is_bound: bool) {
    if let Ok(manager) = manager.cast::<M>() {
        manager.get().bind(is_bound);
    }
}

/// Notes that the block of a manager has started: `__enter__` calls this last. A call of
/// `__enter__` by other code than a `with` statement notes nothing, and neither does an error: then
/// fewer deadlocks are found.
pub(crate) fn enter<M: Manager>(manager: &Bound<'_, M>) {
    let Ok(Some(frame)) = frame_of_statement(manager.py()) else {
        return;
    };
    let block = Entered {
        frame,
        manager: manager.clone().into_any().unbind(),
        bind: bind_one::<M>,
    };
    entered().push(block);
}

/// Notes that the block of a manager ends: `__exit__` calls this first.
pub(crate) fn leave<M: Manager>(manager: &Bound<'_, M>) {
    let mut blocks = entered();
    let at = (blocks.iter()).rposition(|block| block.manager.as_ptr() == manager.as_ptr());
    let block = at.map(|at| blocks.swap_remove(at));
    drop(blocks);
    // Outside of the lock: the end of a frame may run Python code.
    drop(block);
}

/// The guards that are bound to the thread for one wait.
pub(crate) struct Enclosing<'py> {
    bound: Vec<(Bound<'py, PyAny>, Bind)>,
}

impl<'py> Enclosing<'py> {
    /// Binds the guards of all blocks that enclose this call, until the result is dropped.
    pub(crate) fn bind(py: Python<'py>) -> PyResult<Self> {
        let mut bound = Vec::new();
        let has_any = !entered().is_empty();
        if has_any && !signals::is_in_check() {
            let frames = frames(py)?;
            let addresses: HashSet<_> = frames.iter().map(|frame| frame.as_ptr()).collect();
            let is_on_stack = |block: &&Entered| addresses.contains(&block.frame.as_ptr());
            // No Python code runs from here on, so none of these blocks ends.
            for block in entered().iter().filter(is_on_stack) {
                let manager = block.manager.bind(py).clone();
                (block.bind)(&manager, true);
                bound.push((manager, block.bind));
            }
        }
        Ok(Self { bound })
    }
}

impl Drop for Enclosing<'_> {
    fn drop(&mut self) {
        for (manager, bind) in &self.bound {
            bind(manager, false);
        }
    }
}

/// The frame that runs, if there is one.
fn running_frame(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the thread is attached to the interpreter.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    // SAFETY: it is a borrowed reference to an object, or null.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, frame.cast()) }
}

/// The frames on the stack of the thread.
fn frames(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let mut found: Vec<_> = running_frame(py).into_iter().collect();
    while let Some(frame) = found.last() {
        let back = frame.getattr(intern!(py, "f_back"))?;
        if back.is_none() {
            break;
        }
        found.push(back);
    }
    Ok(found)
}

/// The frame whose `with` statement calls `__enter__` now, if one does.
fn frame_of_statement(py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
    let Some(frame) = running_frame(py) else {
        return Ok(None);
    };
    let at: usize = frame.getattr(intern!(py, "f_lasti"))?.extract()?;
    // SAFETY: the object is a frame, and the thread is attached to the interpreter.
    let code = unsafe { ffi::PyFrame_GetCode(frame.as_ptr().cast()) };
    // SAFETY: it is a new reference to a code object, or null with an exception set.
    let code = unsafe { Bound::from_owned_ptr_or_err(py, code.cast()) }?;
    Ok(is_statement(&code, at)?.then(|| frame.unbind()))
}

/// A place in a function, and whether a `with` statement calls `__enter__` there.
struct Place {
    code: Py<PyAny>,
    at: usize,
    is_statement: bool,
}

/// The last places of calls, by a part of the code's address: to read the instructions takes longer
/// than to find the place here.
static PLACES: Mutex<[Option<Place>; 64]> = Mutex::new([const { None }; 64]);

fn is_statement(code: &Bound<'_, PyAny>, at: usize) -> PyResult<bool> {
    let entry = ((code.as_ptr().addr() / 16) ^ (at / 2)) % 64;
    let places = || PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = &places()[entry]
        && (place.code.as_ptr(), place.at) == (code.as_ptr(), at)
    {
        return Ok(place.is_statement);
    }
    let instructions = code.getattr(intern!(code.py(), "co_code"))?;
    let is_statement = match instructions.cast::<PyBytes>() {
        Ok(bytes) => Instructions::known(code.py())?.are_statement(bytes.as_bytes(), at),
        Err(_) => false,
    };
    let place = Place {
        code: code.clone().unbind(),
        at,
        is_statement,
    };
    let former = places()[entry].replace(place);
    drop(former);
    Ok(is_statement)
}

/// The numbers of the instructions by which a `with` statement calls `__enter__`, where this
/// version of Python has them.
struct Instructions {
    /// Up to 3.13, one instruction.
    before_with: Option<u8>,
    /// From 3.14 on, two: one that only `with` statements have, with the argument 0 for
    /// `__enter__`, and a call.
    load_special: Option<u8>,
    call: Option<u8>,
}

impl Instructions {
    fn known(py: Python<'_>) -> PyResult<&Self> {
        static KNOWN: PyOnceLock<Instructions> = PyOnceLock::new();
        KNOWN.get_or_try_init(py, || {
            let numbers = py.import("opcode")?.getattr("opmap")?;
            // A dict, from 3.15 on a frozendict.
            let number = |name: &str| -> PyResult<Option<u8>> {
                let found = numbers.call_method1(intern!(py, "get"), (name,))?;
                Ok(found.extract().ok())
            };
            Ok(Self {
                before_with: number("BEFORE_WITH")?,
                load_special: number("LOAD_SPECIAL")?,
                call: number("CALL")?,
            })
        })
    }

    /// Whether the instruction at an offset calls `__enter__` for a `with` statement.
    fn are_statement(&self, code: &[u8], at: usize) -> bool {
        let instruction = |at: Option<usize>| at.and_then(|at| code.get(at)).copied();
        let here = instruction(Some(at));
        if self.before_with.is_some() {
            return here == self.before_with;
        }
        let before = [2, 1].map(|back| instruction(at.checked_sub(back)));
        self.load_special.is_some()
            && before == [self.load_special, Some(0)]
            && here.is_some()
            && here == self.call
    }
}
