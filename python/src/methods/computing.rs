//! The methods of NumPy's ndarrays that compute with the elements or set them.

use crate::{array::Array, compute};
use pyo3::{
    intern,
    prelude::*,
    types::{PyDict, PyTuple},
};

/// Methods that take the arguments of NumPy's. Their documentation repeats the type stubs.
macro_rules! methods {
    ($writes:literal: $($(#[doc = $doc:literal])* $method:ident;)*) => {$(
        #[pymethods]
        impl Array {
            $(#[doc = $doc])*
            #[pyo3(signature = (*args, **keywords))]
            fn $method<'py>(
                slf: &Bound<'py, Self>,
                args: &Bound<'py, PyTuple>,
                keywords: Option<&Bound<'py, PyDict>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let name = intern!(slf.py(), stringify!($method));
                compute::method(slf, name, $writes, args, keywords)
            }
        }
    )*};
}

methods! { false:
    /// Return whether all elements are true, as ``numpy.ndarray.all`` does.
    all;
    /// Return the indices of the greatest elements, as ``numpy.ndarray.argmax`` does.
    argmax;
    /// Return the indices of the least elements, as ``numpy.ndarray.argmin`` does.
    argmin;
    /// Return the indices of a partition, as ``numpy.ndarray.argpartition`` does.
    argpartition;
    /// Return the indices that would sort the array, as ``numpy.ndarray.argsort`` does.
    argsort;
    /// Return a private copy with elements of another type, as ``numpy.ndarray.astype`` does.
    astype;
    /// Return an ndarray of choices, as ``numpy.ndarray.choose`` does.
    choose;
    /// Return the elements within limits, as ``numpy.ndarray.clip`` does.
    clip;
    /// Return the slices that a condition selects, as ``numpy.ndarray.compress`` does.
    compress;
    /// Return the complex conjugates, as ``numpy.ndarray.conj`` does.
    conj;
    /// Return the complex conjugates, as ``numpy.ndarray.conjugate`` does.
    conjugate;
    /// Return the products up to each element, as ``numpy.ndarray.cumprod`` does.
    cumprod;
    /// Return the sums up to each element, as ``numpy.ndarray.cumsum`` does.
    cumsum;
    /// Return the dot product, as ``numpy.ndarray.dot`` does.
    dot;
    /// Return a private copy with one axis, as ``numpy.ndarray.flatten`` does.
    flatten;
    /// Return one element as a Python scalar, as ``numpy.ndarray.item`` does.
    item;
    /// Return the greatest elements, as ``numpy.ndarray.max`` does.
    max;
    /// Return the means, as ``numpy.ndarray.mean`` does.
    mean;
    /// Return the least elements, as ``numpy.ndarray.min`` does.
    min;
    /// Return where elements are not zero, as ``numpy.ndarray.nonzero`` does.
    nonzero;
    /// Return the products, as ``numpy.ndarray.prod`` does.
    prod;
    /// Return a view with one axis, or else a copy, as ``numpy.ndarray.ravel`` does.
    ravel;
    /// Return the elements repeated, as ``numpy.ndarray.repeat`` does.
    repeat;
    /// Return the elements rounded, as ``numpy.ndarray.round`` does.
    round;
    /// Return where values would be inserted, as ``numpy.ndarray.searchsorted`` does.
    searchsorted;
    /// Return the standard deviations, as ``numpy.ndarray.std`` does.
    std;
    /// Return the sums, as ``numpy.ndarray.sum`` does.
    sum;
    /// Return the elements at indices, as ``numpy.ndarray.take`` does.
    take;
    /// Return the bytes of the elements, as ``numpy.ndarray.tobytes`` does.
    tobytes;
    /// Write the bytes of the elements to a file, as ``numpy.ndarray.tofile`` does.
    tofile;
    /// Return the elements as nested lists, as ``numpy.ndarray.tolist`` does.
    tolist;
    /// Return the sums along diagonals, as ``numpy.ndarray.trace`` does.
    trace;
    /// Return the variances, as ``numpy.ndarray.var`` does.
    var;
}

methods! { true:
    /// Set all elements to one value, as ``numpy.ndarray.fill`` does.
    fill;
    /// Partition the elements in place, as ``numpy.ndarray.partition`` does.
    partition;
    /// Set the elements at flat indices, as ``numpy.ndarray.put`` does.
    put;
    /// Sort the elements in place, as ``numpy.ndarray.sort`` does.
    sort;
}

#[pymethods]
impl Array {
    /// Return whether any element is true, as ``numpy.ndarray.any`` does.
    #[pyo3(name = "any", signature = (*args, **keywords))]
    fn any_element<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        compute::method(slf, intern!(slf.py(), "any"), false, args, keywords)
    }

    #[pyo3(signature = (*args, **keywords))]
    fn __array_ufunc__<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = slf;
        compute::ufunc(args, keywords)
    }

    fn __array_function__<'py>(
        slf: &Bound<'py, Self>,
        function: &Bound<'py, PyAny>,
        types: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        keywords: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _ = slf;
        compute::function(function, types, args, keywords)
    }
}
