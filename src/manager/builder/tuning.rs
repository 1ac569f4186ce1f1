//! Settings for a store in this process: how long it waits for guards, which pages it uses, how
//! much it keeps for reuse, and whether its store gets a janitor.

use super::Builder;
use crate::store::settings::HugePages;
use std::{path::PathBuf, time::Duration};

impl Builder {
    /// How long [`read`](crate::SharedArray::read), [`write`](crate::SharedArray::write) and the
    /// other verbs that lock wait before they fail with [`Error::Timeout`](crate::Error::Timeout);
    /// without a limit by default. The verbs that have a limit of their own (`try_*`, `*_timeout`)
    /// do not change.
    ///
    /// It limits the waits for the locks of the store too, which other processes hold for a few
    /// system calls, or for as long as they are stopped: in the verbs of this builder, and in all
    /// that create, open, release and sweep. A drop waits at most 10 seconds for them without it.
    ///
    /// It is a setting of this process for the whole store: arrays that are opened from handles
    /// have it too. Of several managers, the one that was built last with this setting decides.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder()
    ///     .root(scratch.path())
    ///     .lock_timeout(Duration::from_millis(1))
    ///     .create()?;
    /// let xs = manager.zeros::<f64, _>(10)?;
    /// let _held = xs.write()?;
    /// let view = xs.view()?;
    /// let waited = std::thread::spawn(move || view.read().map(drop)).join().unwrap();
    /// assert!(matches!(waited, Err(ndshm::Error::Timeout { .. })));
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = Some(timeout);
        self
    }

    /// Whether new arrays of 2 MiB and more get huge pages; [`HugePages::Auto`] by default.
    ///
    /// Arrays of huge pages are created and filled in a fifth of the time or less, opened and read
    /// for the first time in a twentieth, and deleted in a fiftieth (`docs/performance.md`). A
    /// setting of this process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Errors
    ///
    /// With [`HugePages::Require`] the verbs that create arrays fail with `Io` if the file system
    /// or the kernel gives no huge pages.
    ///
    /// # Examples
    ///
    /// ```
    /// use ndshm::{HugePages, Manager};
    ///
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = Manager::builder()
    ///     .root(scratch.path())
    ///     .huge_pages(HugePages::Never)
    ///     .create()?;
    /// let xs = manager.zeros::<f64, _>(1_000_000)?;
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn huge_pages(mut self, choice: HugePages) -> Self {
        self.huge_pages = Some(choice);
        self
    }

    /// Maps all pages of an array when it is created or opened, so that no later access waits for
    /// one. That costs time for each page; little on huge pages.
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

    /// Whether core dumps of this process contain the arrays that it maps; they do not by default.
    ///
    /// By its own rules the kernel leaves out files that have a name, and dumps those that have
    /// none: a crash would write every array that was released and is still mapped, gigabytes that
    /// no name in the core tells apart. So the library leaves arrays of 64 KiB and more out
    /// (`MADV_DONTDUMP`): any of them can be released by any process at any time. With `true` the
    /// kernel's rules hold, in `/proc/self/coredump_filter`: bit 1 for released arrays, which is
    /// set by default, bit 3 for the others.
    ///
    /// It counts for arrays that are made or opened from then on. A setting of this process, as
    /// [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).core_dumps(true).create()?;
    /// let xs = manager.zeros::<f64, _>(1_000)?; // to be found in a core, if it is released
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn core_dumps(mut self, core_dumps: bool) -> Self {
        self.core_dumps = Some(core_dumps);
        self
    }

    /// Keeps the mappings of arrays that are not used any more, up to so many bytes, for the next
    /// opening of the same arrays; 64 MiB by default.
    ///
    /// An array whose mapping was kept is opened without a system call, and its pages are mapped
    /// already. If another process deletes the array meanwhile, its memory is given back when this
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

    /// Keeps the memory of released arrays, up to so many bytes, for new arrays of the same number
    /// of pages. 0 keeps none: a released array's memory is free at once.
    ///
    /// A new array in kept memory costs no more than writing its elements, and a release costs
    /// little. The process keeps the memory of arrays that it owned, that have no chosen name and
    /// that no other process has open. The memory is a part of the store
    /// ([`Usage::kept`](crate::Usage::kept)) until it is reused, until space runs out for an array
    /// of this process, or until the process drops its last manager of the store. A setting of this
    /// process, as [`lock_timeout`](Self::lock_timeout) is.
    ///
    /// Without this setting a process keeps arrays of up to 1 MiB, of each store at most 4 MiB and
    /// 256 files, and gives them back when it made and released none for a second. A thread does
    /// that; it runs only while something is kept, and not during a fork.
    ///
    /// # Examples
    ///
    /// ```
    /// # let scratch = tempfile::tempdir().unwrap();
    /// let manager = ndshm::Manager::builder().root(scratch.path()).recycle(1 << 30).create()?;
    /// for frame in 0..100 {
    ///     let pixels = manager.empty::<u8, _>((480, 640))?; // one file, reused a hundred times
    ///     pixels.write()?.fill(frame);
    /// }
    /// # Ok::<(), ndshm::Error>(())
    /// ```
    pub fn recycle(mut self, bytes: usize) -> Self {
        self.recycle = Some(bytes);
        self
    }

    /// Gives a new ephemeral store a janitor: a small process that deletes the store the moment its
    /// last process is gone, however that ended.
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
    /// [`create`](Self::create) then fails with `NotFound` if there is no such program, and with
    /// `Io` if it does not start; no store is left.
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
