//! Calls of NumPy with shared arrays in the place of ndarrays.
//!
//! # Guards of a call
//!
//! A call takes the guards of all its arrays at once, in the order that all threads and processes
//! share, and holds them until it returns. Views of one array, some of which the call writes, have
//! one guard over all of them: two guards would exclude each other.
//!
//! # Results
//!
//! NumPy computes on the memory itself. A result that is a view of an array becomes a shared view,
//! an array given as `out` is itself the result, and anything else is what NumPy made.

use crate::{
    array::{Array, foreign, views::address},
    error::Raise,
    export::Carried,
    lock::{self, Mode, Wait},
    locked::{Call, Leased, WRITERS, is_locked, without_trace},
    together::{Guards, Request, Taken},
};
use ndshm::AnyArray;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::{PyBufferError, PyTypeError},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyBool, PyDict, PyList, PyString, PyTuple, PyType},
};

/// The functions that look at shapes and types only, or at addresses: they need no lock.
const WITHOUT_LOCK: [&str; 14] = [
    "shape",
    "ndim",
    "size",
    "result_type",
    "can_cast",
    "common_type",
    "shares_memory",
    "may_share_memory",
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "iscomplexobj",
    "isrealobj",
];

/// The arrays of a call, and whether it writes them.
#[derive(Default)]
pub(crate) struct Arrays<'py> {
    found: Vec<(Bound<'py, Array>, bool)>,
}

impl<'py> Arrays<'py> {
    /// Looks for arrays in a value, and in tuples, lists and dictionaries.
    pub(crate) fn add(&mut self, value: &Bound<'py, PyAny>, writes: bool) -> PyResult<()> {
        if let Ok(array) = value.cast_exact::<Array>() {
            match self.found.iter_mut().find(|(found, _)| found.is(array)) {
                Some((_, is_written)) => *is_written |= writes,
                None => self.found.push((array.clone(), writes)),
            }
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            for item in tuple {
                self.add(&item, writes)?;
            }
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            for item in list {
                self.add(&item, writes)?;
            }
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            for item in dict.values() {
                self.add(&item, writes)?;
            }
        }
        Ok(())
    }

    /// Takes the guards, and calls `operation` with the ndarrays.
    pub(crate) fn locked(
        self,
        py: Python<'py>,
        operation: impl FnOnce(&Ndarrays<'py>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (leases, ndarrays) = self.take(py)?;
        let made = without_trace(py, || operation(&ndarrays));
        let made = made.and_then(|made| ndarrays.back(made));
        drop(ndarrays);
        let mut left = None;
        for (leased, array) in leases {
            left = leased.end(py, &array)?.or(left);
        }
        let made = made?;
        match left {
            None => Ok(made),
            Some(ways) => Err(PyBufferError::new_err(format!(
                "the call keeps the memory of a shared array, by {ways}: give it a copy \
                 (a.to_numpy()), a frozen array (a.freeze()), or the ndarray of a block"
            ))),
        }
    }

    /// Calls `operation` with ndarrays that need no lock, because it touches no elements.
    fn unlocked(
        self,
        py: Python<'py>,
        operation: impl FnOnce(&Ndarrays<'py>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut ndarrays = Ndarrays::default();
        for (array, _) in self.found {
            let of = array.get();
            let ndarray = crate::export::unlocked(py, of.any(), of.element_type(py))?;
            ndarrays.pairs.push((array, ndarray));
        }
        operation(&ndarrays)
    }

    fn take(self, py: Python<'py>) -> PyResult<(Vec<(Leased, AnyArray)>, Ndarrays<'py>)> {
        let mut ndarrays = Ndarrays::default();
        let mut leases = Vec::new();
        let groups = self.groups(py)?;
        let taken = match &groups[..] {
            // The way of most calls: without a set.
            [one] => {
                let held = lock::take(py, one.guarded.get().any(), one.mode(), Wait::Forever)?;
                held.bind(false);
                vec![held]
            }
            groups => {
                let requests = groups.iter().map(|group| {
                    let request = Request::guard(group.guarded.clone().unbind(), group.mode());
                    Py::new(py, request)
                });
                let requests = requests.collect::<PyResult<_>>()?;
                let taken = Guards::new(requests, Wait::Forever).take(py)?;
                let held = taken.into_iter().filter_map(|taken| match taken {
                    Taken::Guard(_, Carried(held)) => Some(held),
                    Taken::Atomics(_) => None,
                });
                held.collect()
            }
        };
        for (group, held) in groups.into_iter().zip(taken) {
            let guarded = group.guarded.get();
            let leased = Leased::new(py, guarded.any(), guarded.element_type(py), held)?;
            for (array, is_written) in group.members {
                let of = array.get();
                let distance =
                    of.any().byte_offset() as isize - guarded.any().byte_offset() as isize;
                let ndarray =
                    leased.part(py, of.any(), of.element_type(py), distance, is_written)?;
                ndarrays.pairs.push((array, ndarray));
            }
            leases.push((leased, guarded.any().view().raise(py)?));
        }
        Ok((leases, ndarrays))
    }

    /// The arrays by the guards that they need.
    fn groups(self, py: Python<'py>) -> PyResult<Vec<Group<'py>>> {
        let mut groups: Vec<Group<'py>> = Vec::new();
        for (array, is_written) in self.found {
            let alike = |group: &&mut Group<'py>| {
                let (one, other) = (group.guarded.get(), array.get());
                one.any().id() == other.any().id() && one.any().dtype() == other.any().dtype()
            };
            match groups.iter_mut().find(alike) {
                Some(group) => {
                    group.is_written |= is_written;
                    group.members.push((array, is_written));
                }
                None => groups.push(Group {
                    guarded: array.clone(),
                    is_written,
                    members: vec![(array, is_written)],
                }),
            }
        }
        let mut all = Vec::with_capacity(groups.len());
        for group in groups {
            if group.members.len() == 1 {
                all.push(group);
            } else if group.is_written {
                all.push(group.over_all(py)?);
            } else {
                // Guards to read do not exclude each other.
                all.extend(group.members.into_iter().map(|member| Group {
                    guarded: member.0.clone(),
                    is_written: false,
                    members: vec![member],
                }));
            }
        }
        Ok(all)
    }
}

/// Arrays that one guard is taken for.
struct Group<'py> {
    guarded: Bound<'py, Array>,
    is_written: bool,
    members: Vec<(Bound<'py, Array>, bool)>,
}

impl<'py> Group<'py> {
    fn mode(&self) -> Mode {
        if self.is_written {
            Mode::Write
        } else {
            Mode::Read
        }
    }

    /// The group with a guard over everything from the first byte of its views to the last; over
    /// the whole array where the views have elements of another type than it.
    fn over_all(self, py: Python<'py>) -> PyResult<Self> {
        let extents = self.members.iter().map(|(array, _)| {
            let any = array.get().any();
            let start = std::ptr::without_provenance_mut(any.byte_offset());
            crate::export::extent(any, start)
        });
        let part = extents.reduce(|one, other| one.start.min(other.start)..one.end.max(other.end));
        let part = part.unwrap_or_default();
        // One that may be written.
        let written = self.members.iter().find(|(_, is_written)| *is_written);
        let of = written.map_or(&self.guarded, |(array, _)| array).get();
        let mut guarded = Array::new(py, of.any().whole().raise(py)?)?;
        if guarded.any().dtype() == of.any().dtype() {
            let itemsize = of.any().dtype().itemsize().max(1);
            let (length, stride) = (part.len().div_ceil(itemsize), itemsize as isize);
            let over = guarded.any().with_layout(part.start, &[length], &[stride]);
            guarded = of.derived(py, over.raise(py)?);
        }
        let guarded = Bound::new(py, guarded)?;
        Ok(Self { guarded, ..self })
    }
}

/// The arrays of a call with their ndarrays.
#[derive(Default)]
pub(crate) struct Ndarrays<'py> {
    pairs: Vec<(Bound<'py, Array>, Bound<'py, PyAny>)>,
}

impl<'py> Ndarrays<'py> {
    /// The value with ndarrays in the place of arrays, in tuples, lists and dictionaries too.
    pub(crate) fn replace(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        if let Some((_, ndarray)) = self.pairs.iter().find(|(array, _)| array.is(value)) {
            return Ok(ndarray.clone());
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            let items = tuple.iter().map(|item| self.replace(&item));
            let items = items.collect::<PyResult<Vec<_>>>()?;
            return Ok(PyTuple::new(py, items)?.into_any());
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            let items = list.iter().map(|item| self.replace(&item));
            return Ok(PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any());
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            let replaced = PyDict::new(py);
            for (key, item) in dict {
                replaced.set_item(key, self.replace(&item)?)?;
            }
            return Ok(replaced.into_any());
        }
        Ok(value.clone())
    }

    /// The result of a call with arrays in the place of their ndarrays, and of views of these.
    fn back(&self, made: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = made.py();
        if let Some((array, _)) = self.pairs.iter().find(|(_, ndarray)| ndarray.is(&made)) {
            return Ok(array.clone().into_any());
        }
        if let Ok(tuple) = made.cast_exact::<PyTuple>() {
            let items = tuple.iter().map(|item| self.back(item));
            return Ok(PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any());
        }
        if let Ok(list) = made.cast_exact::<PyList>() {
            let items = list.iter().map(|item| self.back(item));
            return Ok(PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any());
        }
        for (array, ndarray) in &self.pairs {
            if crate::locked::shares_root(&made, ndarray) {
                let shared = array.get().view_like(py, ndarray, &made);
                // A view of another type has no shared one.
                return match shared? {
                    Some(view) => Ok(Bound::new(py, view)?.into_any()),
                    None => made.call_method0(intern!(py, "copy")),
                };
            }
        }
        Ok(made)
    }
}

/// NumPy's module.
pub(crate) fn numpy(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static NUMPY: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let numpy = NUMPY.get_or_try_init(py, || Ok::<_, PyErr>(py.import("numpy")?.unbind()))?;
    Ok(numpy.bind(py))
}

/// `__array_ufunc__(ufunc, method, *inputs, **keywords)`.
pub(crate) fn ufunc<'py>(
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = args.py();
    let (function, method) = (
        args.get_item(0)?,
        args.get_item(1)?.cast_into::<PyString>()?,
    );
    let is_at = method.to_cow()? == "at";
    let mut arrays = Arrays::default();
    for (at, input) in args.iter().skip(2).enumerate() {
        if !is_known(&input)? {
            return left_to(&input, || {
                let inputs = args.get_slice(2, args.len());
                match method.to_cow()?.as_ref() {
                    "__call__" => function.call(inputs, keywords),
                    _ => function.getattr(&method)?.call(inputs, keywords),
                }
            });
        }
        arrays.add(&input, is_at && at == 0)?;
    }
    for (key, value) in keywords.into_iter().flatten() {
        arrays.add(&value, key.cast::<PyString>()?.to_cow()? == "out")?;
    }
    arrays.locked(py, |ndarrays| {
        let inputs: Vec<_> = (args.iter().skip(2))
            .map(|input| ndarrays.replace(&input))
            .collect::<PyResult<_>>()?;
        let inputs = PyTuple::new(py, inputs)?;
        let keywords = replaced(ndarrays, keywords)?;
        match method.to_cow()?.as_ref() {
            "__call__" => function.call(inputs, keywords.as_ref()),
            _ => function.getattr(&method)?.call(inputs, keywords.as_ref()),
        }
    })
}

/// What a call gives where another library's object computes: `NotImplemented`, so that the object
/// is asked.
fn left_to<'py>(
    other: &Bound<'py, PyAny>,
    again: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = other.py();
    // Those of pint compute with an array, those of astropy do not.
    if foreign::has_unit(other)? && other.hasattr(intern!(py, "to_value"))? {
        return Err(PyTypeError::new_err(
            "units and shared arrays do not mix: give numpy.asarray(a), or the ndarray of a block",
        ));
    }
    let module = other.get_type().module()?;
    if module.to_cow()?.starts_with("dask.") {
        // Dask computes with the classes that it knows.
        static KNOWN: PyOnceLock<()> = PyOnceLock::new();
        let mut is_new = false;
        KNOWN.get_or_try_init(py, || {
            is_new = true;
            let dask = py.import("dask.array")?;
            dask.call_method1("register_chunk_type", (py.get_type::<Array>(),))
                .map(drop)
        })?;
        if is_new {
            return again();
        }
    }
    Ok(py.NotImplemented().into_bound(py))
}

fn replaced<'py>(
    ndarrays: &Ndarrays<'py>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(keywords) = keywords else {
        return Ok(None);
    };
    let replaced = ndarrays.replace(keywords.as_any())?;
    Ok(Some(replaced.cast_into()?))
}

/// Whether this class knows how to compute with an object. One of another library computes itself.
fn is_known(input: &Bound<'_, PyAny>) -> PyResult<bool> {
    if input.is_exact_instance_of::<Array>() || is_locked(input) {
        return Ok(true);
    }
    foreign::refuse_masked(input)?;
    let py = input.py();
    let class = input.get_type();
    let Ok(own) = class.getattr(intern!(py, "__array_ufunc__")) else {
        return Ok(true);
    };
    let ndarrays = numpy(py)?.getattr(intern!(py, "ndarray"))?;
    Ok(own.is(&ndarrays.getattr(intern!(py, "__array_ufunc__"))?))
}

/// `__array_function__(function, types, args, keywords)`.
pub(crate) fn function<'py>(
    function: &Bound<'py, PyAny>,
    types: &Bound<'py, PyAny>,
    given: &Bound<'py, PyTuple>,
    keywords: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let ndarray = numpy(py)?.getattr(intern!(py, "ndarray"))?;
    for class in types.try_iter()? {
        let class = class?.cast_into::<PyType>()?;
        if !class.is_subclass_of::<Array>()? && !class.is_subclass(&ndarray)? {
            return Ok(py.NotImplemented().into_bound(py));
        }
    }
    let name = function.getattr(intern!(py, "__name__"))?;
    let name = name.cast::<PyString>()?.to_cow()?.into_owned();
    let call = Call {
        function,
        name: &name,
        given,
        keywords,
    };
    let mut arrays = Arrays::default();
    let writes = call.writes()?;
    if writes {
        match call.argument("out")?.filter(|out| !out.is_none()) {
            Some(out) if !WRITERS.contains(&name.as_str()) => arrays.add(&out, true)?,
            // Its first argument, which may be one by keyword.
            _ => match given.get_item(0) {
                Ok(first) => arrays.add(&first, true)?,
                Err(_) => arrays.add(keywords.as_any(), true)?,
            },
        }
    }
    for value in given.iter().chain(keywords.values()) {
        foreign::refuse_masked(&value)?;
        arrays.add(&value, false)?;
    }
    let call = |ndarrays: &Ndarrays<'py>| {
        let given = ndarrays.replace(given.as_any())?.cast_into::<PyTuple>()?;
        function.call(given, replaced(ndarrays, Some(keywords))?.as_ref())
    };
    match WITHOUT_LOCK.contains(&name.as_str()) {
        true if name == "may_share_memory" && has_copy(given, &arrays)? => {
            Ok(PyBool::new(py, true).to_owned().into_any())
        }
        true => arrays.unlocked(py, call),
        false => arrays.locked(py, call),
    }
}

/// Whether one of the arguments may be what `numpy.asarray` made of an array: a copy that cannot be
/// written. A caller that asks whether they share memory, as `permutation` does, wants to know
/// whether it may write.
fn has_copy(given: &Bound<'_, PyTuple>, arrays: &Arrays<'_>) -> PyResult<bool> {
    for value in given {
        if let Ok(ndarray) = value.cast::<PyUntypedArray>() {
            let flags = ndarray.getattr(intern!(given.py(), "flags"))?;
            let is_writable = flags
                .getattr(intern!(given.py(), "writeable"))?
                .is_truthy()?;
            let is_alike = |(array, _): &(Bound<'_, Array>, bool)| {
                array.get().any().shape() == ndarray.shape()
            };
            if !is_writable && arrays.found.iter().any(is_alike) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// One of the methods of an ndarray, on the elements of an array while they are locked.
pub(crate) fn method<'py>(
    array: &Bound<'py, Array>,
    name: &Bound<'py, PyString>,
    writes: bool,
    args: &Bound<'py, PyTuple>,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let mut arrays = Arrays::default();
    arrays.add(array.as_any(), writes)?;
    for value in args {
        arrays.add(&value, false)?;
    }
    for (key, value) in keywords.into_iter().flatten() {
        arrays.add(&value, key.cast::<PyString>()?.to_cow()? == "out")?;
    }
    arrays.locked(py, |ndarrays| {
        let ndarray = ndarrays.replace(array.as_any())?;
        let args = ndarrays.replace(args.as_any())?.cast_into::<PyTuple>()?;
        let keywords = replaced(ndarrays, keywords)?;
        let made = ndarray.call_method(name, args, keywords.as_ref())?;
        // What refers to the memory by other means than a view would outlive the lock.
        Ok(made)
    })
}

/// `numpy.<name>(one, other)`, or `NotImplemented` for an object that computes with arrays itself.
pub(crate) fn binary<'py>(
    one: &Bound<'py, PyAny>,
    other: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = one.py();
    for operand in [one, other] {
        if !operand.is_exact_instance_of::<Array>() && computes_itself(operand)? {
            return Ok(py.NotImplemented().into_bound(py));
        }
    }
    numpy(py)?.getattr(name)?.call1((one, other))
}

/// Whether an ndarray leaves an operator to the other operand.
fn computes_itself(operand: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = operand.py();
    match operand.getattr_opt(intern!(py, "__array_ufunc__"))? {
        Some(protocol) => Ok(protocol.is_none()),
        None => match operand.getattr_opt(intern!(py, "__array_priority__"))? {
            Some(priority) => priority.gt(0.0),
            None => Ok(false),
        },
    }
}

/// `numpy.<name>(array, other, out=array)`: one guard to write for all of it.
pub(crate) fn in_place<'py>(
    array: &Bound<'py, Array>,
    other: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<()> {
    let py = array.py();
    foreign::refuse(other)?;
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "out"), array)?;
    let function = numpy(py)?.getattr(name)?;
    function.call((array, other), Some(&keywords)).map(drop)
}

impl Array {
    /// The view of this array that NumPy made of its ndarray; `None` for one of another type.
    fn view_like<'py>(
        &self,
        py: Python<'py>,
        ndarray: &Bound<'py, PyAny>,
        made: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Self>> {
        let (from, to) = (
            ndarray.cast::<PyUntypedArray>()?,
            made.cast::<PyUntypedArray>()?,
        );
        if !from.dtype().is_equiv_to(&to.dtype()) {
            return Ok(None);
        }
        match self.placed(address(ndarray)?, made) {
            Ok(view) => Ok(Some(view)),
            Err(error) if error.is_instance_of::<PyTypeError>(py) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
