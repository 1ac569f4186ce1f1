//! The default roots of all users, for root.

use super::Observer;
use crate::{
    error::{Error, Result},
    store::permissions,
};
use std::path::PathBuf;

/// The default root of a user. Given by [`Observer::roots_of_users`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRoot {
    /// The user's number.
    pub user: u32,
    /// `/dev/shm/ndshm-<uid>`.
    pub path: PathBuf,
}

impl Observer {
    /// The default roots of all users, in the order of the users' numbers; for root only. A
    /// directory that has the name of a user's root and belongs to another user, or a link, is an
    /// error that names it. Roots that users chose by `NDSHM_ROOT` are not found.
    ///
    /// A root of another user is in that user's hands: the user may replace directories by links
    /// and shorten files while a process looks at them. So the functions of this library refuse it
    /// to root too. To look at it, or to sweep it, start a process with the rights of that user and
    /// no others, as `ndshm ls --all-users` and `ndshm sweep --all-users` do.
    ///
    /// # Errors
    ///
    /// `NotOwner` in a process of another user than root; `Io`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use ndshm::Observer;
    ///
    /// for root in Observer::roots_of_users()? {
    ///     match root {
    ///         Ok(root) => println!("user {}: {}", root.user, root.path.display()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn roots_of_users() -> Result<Vec<Result<UserRoot>>> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotOwner {
                path: permissions::DEFAULT_ROOTS.into(),
                reason: "only root can look at the arrays of all users: run this as root",
            });
        }
        let roots = permissions::default_roots()?.into_iter();
        Ok(roots
            .map(|found| found.map(|(user, path)| UserRoot { user, path }))
            .collect())
    }
}
