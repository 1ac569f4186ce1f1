//! Python's operators on arrays. Each is NumPy's function of that name: an operator gives a plain
//! ndarray or scalar, and one in place writes the memory under one guard.

use crate::{array::Array, compute};
use pyo3::{basic::CompareOp, intern, prelude::*};

/// Operators with their reflected forms.
macro_rules! operators {
    ($($method:ident $reflected:ident $name:literal;)*) => {$(
        #[pymethods]
        impl Array {
            fn $method<'py>(
                slf: &Bound<'py, Self>,
                other: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyAny>> {
                compute::binary(slf.as_any(), other, intern!(slf.py(), $name))
            }

            fn $reflected<'py>(
                slf: &Bound<'py, Self>,
                other: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyAny>> {
                compute::binary(other, slf.as_any(), intern!(slf.py(), $name))
            }
        }
    )*};
}

operators! {
    __add__ __radd__ "add";
    __sub__ __rsub__ "subtract";
    __mul__ __rmul__ "multiply";
    __matmul__ __rmatmul__ "matmul";
    __truediv__ __rtruediv__ "true_divide";
    __floordiv__ __rfloordiv__ "floor_divide";
    __mod__ __rmod__ "remainder";
    __divmod__ __rdivmod__ "divmod";
    __lshift__ __rlshift__ "left_shift";
    __rshift__ __rrshift__ "right_shift";
    __and__ __rand__ "bitwise_and";
    __or__ __ror__ "bitwise_or";
    __xor__ __rxor__ "bitwise_xor";
}

/// Operators in place.
macro_rules! in_place {
    ($($method:ident $name:literal;)*) => {$(
        #[pymethods]
        impl Array {
            fn $method(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> PyResult<()> {
                compute::in_place(slf, other, intern!(slf.py(), $name))
            }
        }
    )*};
}

in_place! {
    __iadd__ "add";
    __isub__ "subtract";
    __imul__ "multiply";
    __imatmul__ "matmul";
    __itruediv__ "true_divide";
    __ifloordiv__ "floor_divide";
    __imod__ "remainder";
    __ilshift__ "left_shift";
    __irshift__ "right_shift";
    __iand__ "bitwise_and";
    __ior__ "bitwise_or";
    __ixor__ "bitwise_xor";
}

/// Operators of one operand.
macro_rules! unary {
    ($($method:ident $name:literal;)*) => {$(
        #[pymethods]
        impl Array {
            fn $method<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                compute::numpy(slf.py())?.call_method1(intern!(slf.py(), $name), (slf,))
            }
        }
    )*};
}

unary! {
    __neg__ "negative";
    __pos__ "positive";
    __abs__ "absolute";
    __invert__ "invert";
}

#[pymethods]
impl Array {
    fn __pow__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match modulo {
            None => compute::binary(slf.as_any(), other, intern!(slf.py(), "power")),
            Some(_) => Ok(slf.py().NotImplemented().into_bound(slf.py())),
        }
    }

    fn __rpow__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        modulo: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match modulo {
            None => compute::binary(other, slf.as_any(), intern!(slf.py(), "power")),
            Some(_) => Ok(slf.py().NotImplemented().into_bound(slf.py())),
        }
    }

    fn __ipow__(
        slf: &Bound<'_, Self>,
        other: &Bound<'_, PyAny>,
        _modulo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        compute::in_place(slf, other, intern!(slf.py(), "power"))
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Self>,
        other: &Bound<'py, PyAny>,
        operator: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let name = match operator {
            CompareOp::Lt => intern!(py, "less"),
            CompareOp::Le => intern!(py, "less_equal"),
            CompareOp::Eq => intern!(py, "equal"),
            CompareOp::Ne => intern!(py, "not_equal"),
            CompareOp::Gt => intern!(py, "greater"),
            CompareOp::Ge => intern!(py, "greater_equal"),
        };
        // As an ndarray: one of another type is unequal in all elements, not an error.
        let is_equality = matches!(operator, CompareOp::Eq | CompareOp::Ne);
        match is_equality {
            true => {
                let dunder = match operator {
                    CompareOp::Eq => intern!(py, "__eq__"),
                    _ => intern!(py, "__ne__"),
                };
                let args = pyo3::types::PyTuple::new(py, [other])?;
                compute::method(slf, dunder, false, &args, None)
            }
            false => compute::binary(slf.as_any(), other, name),
        }
    }

    fn __contains__(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let args = pyo3::types::PyTuple::new(slf.py(), [value])?;
        let name = intern!(slf.py(), "__contains__");
        compute::method(slf, name, false, &args, None)?.is_truthy()
    }
}
