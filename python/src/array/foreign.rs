//! Values that mean more than their elements: they are refused, because an array keeps the elements
//! alone.

use pyo3::{exceptions::PyTypeError, intern, prelude::*, sync::PyOnceLock, types::PyString};

/// Refuses a masked array with a mask.
pub(crate) fn refuse_masked(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    if !value.hasattr(intern!(py, "mask"))? {
        return Ok(());
    }
    static MASKED: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let (class, is_masked) = MASKED.get_or_try_init(py, || {
        let module = py.import("numpy.ma")?;
        let class = module.getattr("MaskedArray")?.unbind();
        Ok::<_, PyErr>((class, module.getattr("is_masked")?.unbind()))
    })?;
    if value.is_instance(class.bind(py))? && is_masked.bind(py).call1((value,))?.is_truthy()? {
        return Err(PyTypeError::new_err(
            "a masked array would lose its mask: use its method filled(), or share data and mask \
             as two arrays",
        ));
    }
    Ok(())
}

/// Whether a value is a quantity of astropy, unyt or pint.
pub(crate) fn has_unit(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let has = |name: &Bound<'_, PyString>| value.hasattr(name);
    Ok(has(intern!(py, "unit"))? && has(intern!(py, "to_value"))?
        || has(intern!(py, "units"))? && has(intern!(py, "to"))?)
}

/// Refuse values that are more than their elements.
#[pyfunction(name = "refuse")]
pub(crate) fn refuse_value(value: &Bound<'_, PyAny>) -> PyResult<()> {
    refuse(value)
}

/// Refuses masked arrays with a mask, and quantities with a unit, as values for elements.
pub(crate) fn refuse(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    if value.hasattr(intern!(py, "dtype"))? || value.hasattr(intern!(py, "magnitude"))? {
        refuse_masked(value)?;
        if has_unit(value)? {
            let name = value.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "a {name} would lose its unit: give its value in the unit of the array \
                 (q.to_value(unit) in astropy, q.m_as(unit) in pint), and keep the unit in attrs"
            )));
        }
    }
    Ok(())
}
