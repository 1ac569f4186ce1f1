//! Arguments of Python's functions as values of the library, and back.

use ndshm::{HugePages, Order, Scope};
use pyo3::{exceptions::PyValueError, prelude::*};
use std::time::Duration;

/// The argument `scope`. `None` is a scope, so a missing argument is a value of its own.
#[derive(Clone, Copy)]
pub(crate) enum ScopeArgument {
    Default,
    Given(Scope),
}

impl ScopeArgument {
    /// The scope, where the argument has to be there.
    pub(crate) fn given(self) -> PyResult<Scope> {
        match self {
            ScopeArgument::Given(scope) => Ok(scope),
            ScopeArgument::Default => Err(PyValueError::new_err(
                "scope must be 'local', 'remote' or None",
            )),
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for ScopeArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(ScopeArgument::Given(Scope::Store));
        }
        let text: Option<String> = object.extract().ok();
        match text.as_deref() {
            Some("local") => Ok(ScopeArgument::Given(Scope::Local)),
            Some("remote") => Ok(ScopeArgument::Given(Scope::Remote)),
            _ => Err(PyValueError::new_err(format!(
                "scope must be 'local', 'remote' or None, not {}",
                object.repr()?
            ))),
        }
    }
}

pub(crate) fn scope_name(scope: Scope) -> Option<&'static str> {
    match scope {
        Scope::Local => Some("local"),
        Scope::Remote => Some("remote"),
        _ => None,
    }
}

pub(crate) fn order_from(name: &str) -> PyResult<Order> {
    match name {
        "C" | "c" => Ok(Order::C),
        "F" | "f" => Ok(Order::F),
        _ => Err(PyValueError::new_err(format!(
            "order must be 'C' or 'F', not {name:?}"
        ))),
    }
}

pub(crate) fn order_name(order: Order) -> &'static str {
    match order {
        Order::C => "C",
        Order::F => "F",
    }
}

/// The argument `shape`: a length or a sequence of lengths.
pub(crate) fn lengths(shape: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    match shape.try_iter() {
        Ok(items) => items.map(|item| length(&item?)).collect(),
        Err(_) => Ok(vec![length(shape)?]),
    }
}

fn length(item: &Bound<'_, PyAny>) -> PyResult<usize> {
    match item.extract::<isize>() {
        Ok(length) => usize::try_from(length)
            .map_err(|_| PyValueError::new_err("negative dimensions are not allowed")),
        // An object that is no integer is a `TypeError` that names its class.
        Err(_) => {
            let index = item.py().import("operator")?.getattr("index")?;
            index.call1((item,))?.extract()
        }
    }
}

/// The argument `name`, a time in seconds. `inf`, and a time that no clock can count, is one
/// without an end.
pub(crate) fn seconds(name: &str, seconds: f64) -> PyResult<Duration> {
    if seconds >= 0.0 {
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    } else {
        Err(PyValueError::new_err(format!(
            "{name} must be a number of seconds that is not negative, not {seconds}"
        )))
    }
}

/// The argument `name`, the most seconds to wait; `None` is no limit.
pub(crate) fn limit(name: &str, limit: Option<f64>) -> PyResult<Duration> {
    limit.map_or(Ok(Duration::MAX), |limit| seconds(name, limit))
}

/// How long to wait.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    /// Not at all.
    Never,
    /// For this time at most.
    AtMost(Duration),
    /// Without a limit, or as long as the store's `lock_timeout` allows.
    Forever,
}

impl Wait {
    /// Converts the argument `timeout`: seconds, or `None`.
    pub(crate) fn new(timeout: Option<f64>) -> PyResult<Self> {
        let Some(limit) = timeout else {
            return Ok(Wait::Forever);
        };
        match seconds("timeout", limit)? {
            Duration::ZERO => Ok(Wait::Never),
            time => Ok(Wait::AtMost(time)),
        }
    }
}

pub(crate) fn huge_pages(name: &str) -> PyResult<HugePages> {
    match name {
        "auto" => Ok(HugePages::Auto),
        "never" => Ok(HugePages::Never),
        "require" => Ok(HugePages::Require),
        _ => Err(PyValueError::new_err(
            "huge_pages must be 'auto', 'never' or 'require'",
        )),
    }
}
