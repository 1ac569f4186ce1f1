//! NumPy's protocols for functions, `__array_ufunc__` and `__array_function__`: calls with plain
//! ndarrays in the place of views. The call keeps them, so the lock is not given back while it
//! runs, in whichever thread.

use super::{Lease, class::Class, plain};
use crate::nested;
use pyo3::{
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyString, PyTuple},
};
use std::sync::atomic::Ordering::SeqCst;

/// The functions that write an argument that is not called `out`.
pub(crate) const WRITERS: [&str; 6] = [
    "copyto",
    "put",
    "place",
    "putmask",
    "fill_diagonal",
    "put_along_axis",
];

/// The functions whose results are views that must not be written.
const READ_ONLY_VIEWS: [&str; 2] = ["broadcast_to", "sliding_window_view"];

/// The arguments of a call, with `view` before them.
pub(super) fn with_first<'py>(
    view: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyTuple>> {
    let all = std::iter::once(view.clone()).chain(args.iter());
    PyTuple::new(view.py(), all.collect::<Vec<_>>())
}

/// The views of a call with the plain ndarrays in their place.
struct Replaced<'a, 'py> {
    class: &'a Class,
    pairs: Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
    writes: bool,
}

impl<'a, 'py> Replaced<'a, 'py> {
    fn new(class: &'a Class, writes: bool) -> Self {
        Self {
            class,
            pairs: Vec::new(),
            writes,
        }
    }

    fn one(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !self.class.is_of(value.as_ptr()) {
            return Ok(value.clone());
        }
        if let Some((_, plain)) = self.pairs.iter().find(|(view, _)| view.is(value)) {
            return Ok(plain.clone());
        }
        let plain = match self.writes {
            true => plain::of(self.class, value)?,
            false => plain::read_only(self.class, value)?,
        };
        if let Some((lease, _)) = self.class.lease(value) {
            lease.running.fetch_add(1, SeqCst);
            if self.writes {
                lease.note_write();
            }
        }
        self.pairs.push((value.clone(), plain.clone()));
        Ok(plain)
    }

    /// Replaces views in tuples, lists and dictionaries too.
    fn all(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        nested::replaced(value, &mut |value| {
            let is_view = self.class.is_of(value.as_ptr());
            is_view.then(|| self.one(value)).transpose()
        })
    }

    /// The result of the call: the view for its plain ndarray, and views for other plain ndarrays
    /// over the same memory.
    fn back(&self, made: &Bound<'py, PyAny>, read_only: bool) -> PyResult<Bound<'py, PyAny>> {
        let py = made.py();
        nested::replaced(made, &mut |made| {
            if let Some((view, _)) = self.pairs.iter().find(|(_, plain)| plain.is(made)) {
                return Ok(Some(view.clone()));
            }
            for (view, _) in &self.pairs {
                if let Some((lease, is_read_only)) = self.class.lease(view)
                    && plain::is_over(py, made, lease)
                {
                    let read_only = read_only || is_read_only;
                    return plain::locked_over(py, made, lease, read_only).map(Some);
                }
            }
            Ok(None)
        })
    }
}

impl Drop for Replaced<'_, '_> {
    fn drop(&mut self) {
        for (view, _) in &self.pairs {
            // A view that was emptied meanwhile has no lease any more: its count does not matter.
            if let Some((lease, _)) = self.class.lease(view) {
                Lease::operation_ended(lease);
            }
        }
    }
}

impl Lease {
    fn operation_ended(&self) {
        self.running.fetch_sub(1, SeqCst);
    }
}

/// Calls one of NumPy's functions with ndarrays that must not outlive the call. If it fails, the
/// frames of the call are cleared: the traceback of the exception would keep them.
pub(crate) fn without_trace<'py>(
    py: Python<'py>,
    call: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let made = call();
    if let Err(error) = &made {
        clear_frames(py, error)?;
    }
    made
}

fn clear_frames(py: Python<'_>, error: &PyErr) -> PyResult<()> {
    let handled = py.import("sys")?.call_method0("exc_info")?.get_item(1)?;
    let first = error.value(py).clone().into_any();
    let mut exceptions = vec![first.clone()];
    let mut seen = 0;
    while let Some(exception) = exceptions.pop() {
        // One that the caller handles has frames of the caller's.
        seen += 1;
        if exception.is_none() || exception.is(&handled) || seen > 100 {
            continue;
        }
        let mut traceback = match error.traceback(py) {
            // Before Python 3.12 the exception itself may not have it yet.
            Some(traceback) if exception.is(&first) => traceback.into_any(),
            _ => exception.getattr(intern!(py, "__traceback__"))?,
        };
        while !traceback.is_none() {
            let frame = traceback.getattr(intern!(py, "tb_frame"))?;
            // One that still runs cannot be cleared.
            let _ = frame.call_method0(intern!(py, "clear"));
            traceback = traceback.getattr(intern!(py, "tb_next"))?;
        }
        exceptions.push(exception.getattr(intern!(py, "__cause__"))?);
        exceptions.push(exception.getattr(intern!(py, "__context__"))?);
    }
    Ok(())
}

/// `__array_ufunc__(ufunc, method, *inputs, **keywords)`.
pub(super) fn ufunc<'py>(
    class: &Class,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let (function, method) = (args.get_item(0)?, args.get_item(1)?);
    let is_call = method.is(intern!(py, "__call__"));
    if is_call && keywords.is_none_or(|keywords| keywords.is_empty()) {
        // The usual case: nothing is written, and no result is a view.
        let mut readable = Replaced::new(class, false);
        let inputs = args.iter().skip(2).map(|input| readable.one(&input));
        let inputs = PyTuple::new(py, inputs.collect::<PyResult<Vec<_>>>()?)?;
        return without_trace(py, || function.call1(inputs));
    }
    let is_at = method.cast::<PyString>()?.to_cow()? == "at";
    // First, so that an ndarray that is input and output is a writable one.
    let mut writable = Replaced::new(class, true);
    let mut readable = Replaced::new(class, false);
    let replaced = PyDict::new(py);
    for (key, value) in keywords.into_iter().flatten() {
        let is_out = key.cast::<PyString>()?.to_cow()? == "out";
        let value = match is_out {
            true => writable.all(&value)?,
            false => readable.all(&value)?,
        };
        replaced.set_item(key, value)?;
    }
    let mut inputs = Vec::with_capacity(args.len());
    for (at, input) in args.iter().skip(2).enumerate() {
        let is_out = writable.pairs.iter().any(|(view, _)| view.is(&input));
        inputs.push(match is_at && at == 0 || is_out {
            true => writable.one(&input)?,
            false => readable.one(&input)?,
        });
    }
    let inputs = PyTuple::new(py, inputs)?;
    let keywords = (!replaced.is_empty()).then_some(&replaced);
    let made = without_trace(py, || match method.cast::<PyString>()?.to_cow()?.as_ref() {
        "__call__" => function.call(inputs, keywords),
        _ => function
            .getattr(method.cast::<PyString>()?)?
            .call(inputs, keywords),
    })?;
    writable.back(&made, false)
}

/// A method of an ndarray, whose argument `out` has a place.
pub(super) fn method<'py>(
    class: &Class,
    view: &Bound<'py, PyAny>,
    (name, out_at): (&Bound<'py, PyString>, usize),
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = view.py();
    let out = match keywords {
        Some(keywords) => keywords.get_item(intern!(py, "out"))?,
        None => None,
    };
    let out = out.or_else(|| args.get_item(out_at).ok());
    let mut writable = Replaced::new(class, true);
    if let Some(out) = &out {
        writable.one(out)?;
    }
    let mut readable = Replaced::new(class, false);
    let mut replace =
        |value: &Bound<'py, PyAny>| match out.as_ref().is_some_and(|out| out.is(value)) {
            true => writable.one(value),
            false => readable.all(value),
        };
    let this = replace(view)?;
    let args = args.iter().map(|value| replace(&value));
    let args = PyTuple::new(py, args.collect::<PyResult<Vec<_>>>()?)?;
    let replaced = PyDict::new(py);
    for (key, value) in keywords.into_iter().flatten() {
        replaced.set_item(key, replace(&value)?)?;
    }
    let made = without_trace(py, || this.call_method(name, args, Some(&replaced)))?;
    readable.back(&writable.back(&made, false)?, false)
}

/// `__array_function__(function, types, args, keywords)`.
pub(super) fn function<'py>(
    class: &Class,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let function = args.get_item(0)?;
    let given = args.get_item(2)?.cast_into::<PyTuple>()?;
    let keywords = args.get_item(3)?.cast_into::<PyDict>()?;
    let name = function.getattr(intern!(py, "__name__"))?;
    let name = name.cast::<PyString>()?.to_cow()?.into_owned();
    let call = Call {
        function: &function,
        name: &name,
        given: &given,
        keywords: &keywords,
    };
    let mut replaced = Replaced::new(class, call.writes()?);
    let given = replaced.all(given.as_any())?.cast_into::<PyTuple>()?;
    let keywords = replaced.all(keywords.as_any())?.cast_into::<PyDict>()?;
    let made = without_trace(py, || function.call(given, Some(&keywords)))?;
    replaced.back(&made, READ_ONLY_VIEWS.contains(&name.as_str()))
}

/// A call of one of NumPy's functions.
pub(crate) struct Call<'a, 'py> {
    pub(crate) function: &'a Bound<'py, PyAny>,
    pub(crate) name: &'a str,
    pub(crate) given: &'a Bound<'py, PyTuple>,
    pub(crate) keywords: &'a Bound<'py, PyDict>,
}

impl<'py> Call<'_, 'py> {
    /// Whether the function may write an argument.
    pub(crate) fn writes(&self) -> PyResult<bool> {
        if WRITERS.contains(&self.name) {
            return Ok(true);
        }
        let is_true = |given: Option<Bound<'py, PyAny>>, or: bool| {
            given.map_or(Ok(or), |given| given.is_truthy())
        };
        let out = self.argument("out")?;
        Ok(out.is_some_and(|out| !out.is_none())
            || is_true(self.argument("overwrite_input")?, false)?
            || self.name == "nan_to_num" && !is_true(self.argument("copy")?, true)?)
    }

    /// The argument of a name, by keyword or by its place.
    pub(crate) fn argument(&self, name: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
        if let Some(found) = self.keywords.get_item(name)? {
            return Ok(Some(found));
        }
        // The arrays themselves come first.
        match self.given.len() > 1 {
            true => Ok(match place(self.function, self.name, name)? {
                Some(place) => self.given.get_item(place).ok(),
                None => None,
            }),
            false => Ok(None),
        }
    }
}

/// The last kind of parameters that have a place, in `inspect`.
const POSITIONAL_OR_KEYWORD: u8 = 1;

/// The place of one of a function's arguments, if it has such an argument.
fn place(function: &Bound<'_, PyAny>, of: &str, name: &str) -> PyResult<Option<usize>> {
    static PLACES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let py = function.py();
    let known = PLACES.get_or_init(py, || PyDict::new(py).unbind()).bind(py);
    if let Some(known) = known.get_item((function, name))? {
        return known.extract();
    }
    // Functions in C may have no signature.
    let place = match (of, name) {
        ("concatenate" | "dot", "out") => Some(2),
        _ => match py.import("inspect")?.call_method1("signature", (function,)) {
            Ok(signature) => {
                let parameters = signature.getattr("parameters")?.call_method0("values")?;
                let mut found = None;
                for (at, parameter) in parameters.try_iter()?.enumerate() {
                    let parameter = parameter?;
                    // Not those after `*operands`, which have no place.
                    let has_place = parameter.getattr("kind")?.le(POSITIONAL_OR_KEYWORD)?;
                    if has_place && parameter.getattr("name")?.eq(name)? {
                        found = Some(at);
                    }
                }
                found
            }
            Err(_) => None,
        },
    };
    known.set_item((function, name), place)?;
    Ok(place)
}
