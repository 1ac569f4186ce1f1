//! The keywords of a new manager.

use crate::{arguments, error::Raise};
use ndshm::{Builder, Manager};
use pyo3::{exceptions::PyValueError, prelude::*};
use std::path::PathBuf;

pub(super) struct Settings<'a> {
    pub(super) path: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) root: Option<PathBuf>,
    pub(super) persistent: Option<bool>,
    pub(super) any_file_system: bool,
    pub(super) lock_timeout: Option<f64>,
    pub(super) huge_pages: Option<&'a str>,
    pub(super) prefault: bool,
    pub(super) core_dumps: Option<bool>,
    pub(super) recycle: Option<usize>,
    pub(super) cache: Option<usize>,
    pub(super) janitor: bool,
    pub(super) mode: &'a str,
}

impl Settings<'_> {
    /// Opens or creates the store, as the mode says.
    pub(super) fn manager(self, py: Python<'_>) -> PyResult<Manager> {
        let mode = self.mode;
        let is_named = self.path.is_some() || self.name.is_some();
        let builder = self.builder(py)?;
        let manager = match (mode, is_named) {
            ("a", true) => py.detach(|| builder.open_or_create()),
            ("a" | "x", _) => py.detach(|| builder.create()),
            ("r+", _) => py.detach(|| builder.open()),
            _ => {
                return Err(PyValueError::new_err(
                    "mode must be 'a' (open or create), 'x' (create) or 'r+' (open)",
                ));
            }
        };
        manager.raise(py)
    }

    fn builder(self, py: Python<'_>) -> PyResult<Builder> {
        let mut builder = Manager::builder();
        if let Some(path) = self.path {
            builder = builder.path(path);
        }
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        if let Some(root) = self.root {
            builder = builder.root(root);
        }
        if let Some(is_persistent) = self.persistent {
            builder = if is_persistent {
                builder.persistent()
            } else {
                builder.ephemeral()
            };
        }
        if self.any_file_system {
            builder = builder.any_file_system();
        }
        if let Some(seconds) = self.lock_timeout {
            builder = builder.lock_timeout(arguments::seconds("lock_timeout", seconds)?);
        }
        if let Some(name) = self.huge_pages {
            builder = builder.huge_pages(arguments::huge_pages(name)?);
        }
        if self.prefault {
            builder = builder.prefault();
        }
        if let Some(core_dumps) = self.core_dumps {
            builder = builder.core_dumps(core_dumps);
        }
        if let Some(bytes) = self.recycle {
            builder = builder.recycle(bytes);
        }
        if let Some(bytes) = self.cache {
            builder = builder.cache(bytes);
        }
        if self.janitor {
            builder = builder.janitor(true);
            // An interpreter of a virtual environment runs elsewhere, so the tool is not beside it.
            if let Some(program) = tool(py)? {
                builder = builder.janitor_program(program);
            }
        }
        Ok(builder)
    }
}

/// The tool of this package, unless `NDSHM_JANITOR` names a program for janitors.
fn tool(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    if ndshm::__private::trusted_variable("NDSHM_JANITOR").is_some() {
        return Ok(None);
    }
    py.import("ndshm._tool")?
        .getattr("path")?
        .call0()?
        .extract()
}
