//! Settings of a store that are this process's own: how long it waits, what it does about pages,
//! what it keeps; and the janitor of its store.

use super::Builder;
use crate::store::settings::HugePages;
use std::{path::PathBuf, time::Duration};

impl Builder {
    /// How long [`read`](crate::SharedArray::read), [`write`](crate::SharedArray::write) and all
    /// that locks like them wait before they give [`Error::Timeout`](crate::Error::Timeout); for
    /// ever by default. Those that are told how long to wait (`try_*`, `*_timeout`) are not
    /// changed.
    ///
    /// It is a setting of this process for the whole store: arrays that are opened from handles
    /// have it too, and of several managers the one that was built last with it decides.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).lock_timeout(Duration::from_millis(1)).create()?;
    /// let xs = manager.zeros::<f64, _>(10)?;
    /// let _held = xs.write()?;
    /// let view = xs.view()?;
    /// std::thread::spawn(move || assert!(matches!(view.read(), Err(ndshm::Error::Timeout { .. })))).join().unwrap();
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Whether new arrays of 2 MiB and more get huge pages; [`HugePages::Auto`] by default.
    ///
    /// Arrays of huge pages are made and filled in a fifth of the time or less, opened and read for
    /// the first time in a twentieth, and deleted in a fiftieth (`docs/performance.md`). A setting
    /// of this process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Errors
    ///
    /// With [`HugePages::Require`] the verbs that make arrays fail with `Io` where the file system
    /// or the kernel gives none.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{HugePages, Manager};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = Manager::builder().root(scratch.path()).huge_pages(HugePages::Never).create()?;
    /// let xs = manager.zeros::<f64, _>(1_000_000)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn huge_pages(mut self, choice: HugePages) -> Self {
        self.huge_pages = Some(choice);
        self
    }

    /// Maps all pages of an array when it is made or opened, so that no access waits for one later.
    /// Costs time for each page then; on huge pages hardly any.
    ///
    /// A setting of this process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).prefault().create()?;
    /// let xs = manager.zeros::<f64, _>(1_000_000)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn prefault(mut self) -> Self {
        self.prefault = true;
        self
    }

    /// Keeps the mappings of arrays that are not used any more, up to so many bytes, for when the
    /// same arrays are opened again; 64 MiB by default.
    ///
    /// An array whose mapping was kept is opened without a system call, and its pages are mapped
    /// already. The memory of an array that somebody deletes meanwhile is given back when this
    /// process opens or drops another array of the store, at the latest when it ends. A setting of
    /// this process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).cache(1 << 30).create()?;
    /// let xs = manager.options().name("xs").zeros::<f64, _>(1_000_000)?;
    /// let handle = xs.handle();
    /// drop(xs);
    /// for _ in 0..100 {
    ///     handle.open::<f64, ndarray::Ix1>()?; // mapped once
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache = Some(bytes);
        self
    }

    /// Keeps the memory of released arrays, up to so many bytes, for new ones of the same number of
    /// pages; 0 by default.
    ///
    /// An array that is made of kept memory costs no more than to write its elements, and a release
    /// hardly anything. What is kept is that of arrays without a chosen name which this process
    /// owned and nobody else has open, and which were not frozen. It is a part of the store
    /// ([`Usage::kept`](crate::Usage::kept)) until it is used again, until space runs out for an
    /// array of this process, or until the last manager of the store is dropped in it. A setting of
    /// this process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).recycle(1 << 30).create()?;
    /// for frame in 0..100 {
    ///     let pixels = manager.empty::<u8, _>((480, 640))?; // one file, used a hundred times
    ///     pixels.write()?.fill(frame);
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recycle(mut self, bytes: usize) -> Self {
        self.recycle = Some(bytes);
        self
    }

    /// Gives an ephemeral store that this makes a janitor: a small process that deletes it the
    /// moment its last process is gone, however that ended.
    ///
    /// Without one, a store that SIGKILL, `abort` or `process::exit` leaves behind stays until the
    /// next sweep. The janitor is the tool `ndshm` (package `ndshm-cli`): the program that
    /// [`janitor_program`](Self::janitor_program) or else the environment variable `NDSHM_JANITOR`
    /// names, else `ndshm` beside this process's program, else on the PATH. It waits in the kernel,
    /// in a session of its own, and ends with the store. If it is killed too, alone or with a whole
    /// container or control group, the store stays until the next sweep. Stores that are persistent
    /// or only opened get no janitor.
    ///
    /// # Errors
    ///
    /// [`create`](Self::create) then fails with `NotFound` where there is no such program, with
    /// `Io` where it does not start; no store is left.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// match ndshm::Manager::builder().root(scratch.path()).janitor(true).create() {
    ///     Ok(manager) => println!("{} goes with its last process", manager.path().display()),
    ///     Err(ndshm::Error::NotFound { what, .. }) => println!("{what}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn janitor(mut self, janitor: bool) -> Self {
        self.janitor = janitor;
        self
    }

    /// Names the program of the [`janitor`](Self::janitor) by its absolute path.
    ///
    /// It is for software that installs the tool elsewhere, and for programs that are their own
    /// janitor: see [`Manager::serve_as_janitor`](crate::Manager::serve_as_janitor). Without
    /// `janitor(true)` it changes nothing.
    ///
    /// # Errors
    ///
    /// [`create`](Self::create) then fails with `NotFound` where the path is relative or no program
    /// is there.
    pub fn janitor_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.janitor_program = Some(program.into());
        self
    }
}
