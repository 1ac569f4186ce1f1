//! The arrays of a call: their guards, their ndarrays, and the way back from the result.

use crate::{
    array::{Array, views::address},
    error::Raise,
    export::{self, Carried},
    lock::{self, Mode, Wait},
    locked::{Leased, shares_root, without_trace},
    nested,
    together::{Guards, Request, Taken},
};
use ndshm::AnyArray;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::{
    exceptions::{PyBufferError, PyTypeError},
    intern,
    prelude::*,
    types::{PyDict, PyList, PyTuple},
};

/// The arrays of a call, and whether it writes them.
#[derive(Default)]
pub(crate) struct Arrays<'py> {
    pub(super) found: Vec<(Bound<'py, Array>, bool)>,
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
        let made = made.and_then(|made| ndarrays.back(&made));
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
    pub(super) fn unlocked(
        self,
        py: Python<'py>,
        operation: impl FnOnce(&Ndarrays<'py>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut ndarrays = Ndarrays::default();
        for (array, _) in self.found {
            let of = array.get();
            let ndarray = export::unlocked(py, of.any(), of.element_type(py))?;
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
            export::extent(any, start)
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
        nested::replaced(value, &mut |value| {
            let pair = self.pairs.iter().find(|(array, _)| array.is(value));
            Ok(pair.map(|(_, ndarray)| ndarray.clone()))
        })
    }

    /// The result of a call with arrays in the place of their ndarrays, and of views of these.
    fn back(&self, made: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = made.py();
        nested::replaced(made, &mut |made| {
            if let Some((array, _)) = self.pairs.iter().find(|(_, ndarray)| ndarray.is(made)) {
                return Ok(Some(array.clone().into_any()));
            }
            let shares =
                |pair: &&(Bound<'py, Array>, Bound<'py, PyAny>)| shares_root(made, &pair.1);
            let Some((array, ndarray)) = self.pairs.iter().find(shares) else {
                return Ok(None);
            };
            match array.get().view_like(py, ndarray, made)? {
                Some(view) => Ok(Some(Bound::new(py, view)?.into_any())),
                // A view of another type has no shared one.
                None => made.call_method0(intern!(py, "copy")).map(Some),
            }
        })
    }
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
