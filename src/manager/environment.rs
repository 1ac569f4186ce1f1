//! The store that the environment names.

use super::Manager;
use crate::{
    error::{Error, Result},
    sys::process::trusted_variable,
};
use std::path::PathBuf;

/// The environment variable that names a store.
const STORE_VARIABLE: &str = "NDSHM_STORE";

impl Manager {
    /// Joins the store that the environment variable `NDSHM_STORE` names: that of `ndshm run`,
    /// under which this program was started.
    ///
    /// # Errors
    ///
    /// `NotFound` if the variable is not set, if no store is at its path, and in a process with
    /// raised rights (setuid), which believes no environment variable; `Untrusted` if its value is
    /// not an absolute path; those of [`open`](Self::open).
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{Error, Manager};
    ///
    /// let manager = match Manager::from_env() {
    ///     Ok(manager) => manager,                          // $ ndshm run -- this-program
    ///     Err(Error::NotFound { .. }) => Manager::new()?, // $ this-program
    ///     Err(error) => return Err(error),
    /// };
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        let Some(path) = trusted_variable(STORE_VARIABLE).map(PathBuf::from) else {
            let what = "this environment variable is not set: set it to the directory of a store, \
                        or start the program by ndshm run";
            return Err(Error::NotFound {
                path: STORE_VARIABLE.into(),
                what,
            });
        };
        if !path.is_absolute() {
            return Err(Error::Untrusted {
                path,
                reason: format!(
                    "{STORE_VARIABLE} must name the directory of a store by its absolute path"
                ),
            });
        }
        Self::open(&path).map_err(|error| match error {
            Error::NotFound { path, .. } => Error::NotFound {
                path,
                what: "NDSHM_STORE names it, and no store is here",
            },
            other => other,
        })
    }
}
