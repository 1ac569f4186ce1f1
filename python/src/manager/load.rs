//! Arrays from files of other formats.

use crate::{arguments::ScopeArgument, array::Array, error::Raise};
use ndshm::{AnyArray, Import, Left, Manager, Result};
use pyo3::{exceptions::PyValueError, prelude::*};
use std::path::PathBuf;

/// The arguments of a load.
pub(super) struct Load {
    pub(super) path: PathBuf,
    pub(super) name: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) scope: ScopeArgument,
    pub(super) only: Option<Vec<String>>,
    pub(super) skip_unsupported: bool,
}

/// The arrays with their keys, and what was left with the reasons.
pub(super) type Loaded = (Vec<(String, Array)>, Vec<(String, String)>);

/// The same before the interpreter sees it.
type Read = (Vec<(String, AnyArray)>, Vec<Left>);

impl Load {
    /// Imports the file, without the interpreter's lock.
    pub(super) fn run(self, py: Python<'_>, manager: &Manager, format: &str) -> PyResult<Loaded> {
        let read = match format {
            "npy" | "npz" | "safetensors" => py.detach(|| self.read(manager, format)),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "format must be 'npy', 'npz' or 'safetensors', not {format:?}"
                )));
            }
        };
        let (arrays, left) = read.raise(py)?;
        let arrays = arrays
            .into_iter()
            .map(|(key, array)| Ok((key, Array::new(py, array)?)))
            .collect::<PyResult<_>>()?;
        let left = left.into_iter().map(|left| (left.key, left.reason));
        Ok((arrays, left.collect()))
    }

    fn read(self, manager: &Manager, format: &str) -> Result<Read> {
        let mut import = Import::new().only(self.only.unwrap_or_default());
        if let Some(name) = self.name {
            import = import.name(name);
        }
        if let Some(prefix) = self.prefix {
            import = import.prefix(prefix);
        }
        if let ScopeArgument::Given(scope) = self.scope {
            import = import.scope(scope);
        }
        if self.skip_unsupported {
            import = import.skip_unsupported();
        }
        let read = match format {
            "npz" => import.npz(manager, &self.path)?,
            "safetensors" => import.safetensors(manager, &self.path)?,
            _ => {
                let array = import.npy(manager, &self.path)?;
                return Ok((vec![(String::new(), array)], Vec::new()));
            }
        };
        Ok((read.arrays, read.left))
    }
}
