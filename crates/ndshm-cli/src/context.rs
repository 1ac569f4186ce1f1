//! The options that all commands share: the store, and the form of the output.

use crate::{
    failure::{Code, Failure},
    target::nearest,
};
use anstream::AutoStream;
use clap::ColorChoice;
use ndshm::{Manager, Observer};
use serde_json::Value;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// The options that all commands share.
pub(crate) struct Context {
    store: Option<PathBuf>,
    pub(crate) is_json: bool,
    /// Longest wait for a guard or a lock.
    pub(crate) patience: Duration,
    /// The same if the command line gives it.
    pub(crate) given_patience: Option<Duration>,
}

/// The wait without one on the command line.
const PATIENCE: Duration = Duration::from_secs(10);

impl Context {
    pub(crate) fn new(
        store: Option<PathBuf>,
        is_json: bool,
        given_patience: Option<Duration>,
        color: ColorChoice,
    ) -> Self {
        let choice = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
        Self {
            store: store.filter(|store| !store.as_os_str().is_empty()),
            is_json,
            patience: given_patience.unwrap_or(PATIENCE),
            given_patience,
        }
    }

    /// Whether --store or NDSHM_STORE names a store, which need not exist.
    pub(crate) fn names_a_store(&self) -> bool {
        self.store.is_some()
    }

    /// Standard output, without colours where they are not wanted. The command must flush it.
    pub(crate) fn out(&self) -> impl Write + use<> {
        io::BufWriter::new(anstream::stdout())
    }

    /// Whether standard output shows colours.
    pub(crate) fn has_colors(&self) -> bool {
        AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
    }

    /// The text that `write` writes, with colours where standard output shows them.
    pub(crate) fn painted(
        &self,
        write: impl FnOnce(&mut AutoStream<Vec<u8>>) -> Result<(), Failure>,
    ) -> Result<String, Failure> {
        let choice = AutoStream::choice(&io::stdout());
        let mut stream = AutoStream::new(Vec::new(), choice);
        write(&mut stream)?;
        Ok(String::from_utf8_lossy(&stream.into_inner()).into_owned())
    }

    /// Prints one JSON value.
    pub(crate) fn print_json(&self, value: &Value) -> Result<(), Failure> {
        // Not through the stream that filters colours: JSON has none, and that of twenty thousand
        // arrays is long.
        let mut out = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// Prints one JSON value in a line, for output of several.
    pub(crate) fn print_json_line(&self, value: &Value) -> Result<(), Failure> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        serde_json::to_writer(&mut out, value)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    /// The directory of the default stores.
    pub(crate) fn root(&self) -> Result<PathBuf, Failure> {
        Ok(Manager::default_root()?)
    }

    /// The directory whose file system these stores fill: that of the first one, which may be
    /// outside of the root.
    pub(crate) fn root_of(&self, stores: &[PathBuf]) -> PathBuf {
        match stores {
            [store, ..] => store.parent().unwrap_or(Path::new("/")).to_path_buf(),
            [] => self.root().unwrap_or_else(|_| PathBuf::from("/dev/shm")),
        }
    }

    /// The stores in the root; none if the root does not exist yet.
    pub(crate) fn stores(&self) -> Result<Vec<PathBuf>, Failure> {
        match self.root() {
            Ok(root) => Ok(Observer::stores(&root)?),
            Err(failure) if failure.code() == Code::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// The store of --store or NDSHM_STORE, if given: a directory, or a name in the root.
    pub(crate) fn store(&self) -> Result<Option<PathBuf>, Failure> {
        self.store
            .as_deref()
            .map(|store| self.find_store(store))
            .transpose()
    }

    /// The stores that the command line names. Without names: the store of --store or NDSHM_STORE,
    /// else all stores in the root.
    pub(crate) fn choose_stores(&self, named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        // An unknown --store is an error also where the command line names others.
        let default = self.store()?;
        match (named, default) {
            ([], Some(store)) => Ok(vec![store]),
            ([], None) => self.stores(),
            _ => named.iter().map(|store| self.find_store(store)).collect(),
        }
    }

    /// The store of this path, or of this name in the root.
    pub(crate) fn find_store(&self, store: &Path) -> Result<PathBuf, Failure> {
        let in_root = if store.components().count() == 1 {
            self.root().ok().map(|root| root.join(store))
        } else {
            None
        };
        let candidates = [in_root, Some(store.to_path_buf())];
        let found = candidates
            .into_iter()
            .flatten()
            .find(|directory| directory.join(".lock").exists());
        let found = found.ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                format!(
                    "{}: no such store, neither at this path nor of this name in the root{}; \
                     ndshm ls lists the stores",
                    store.display(),
                    self.close_stores(store)
                ),
            )
        })?;
        Ok(std::fs::canonicalize(found)?)
    }

    /// The words that suggest stores of the root whose names are close to this one.
    fn close_stores(&self, store: &Path) -> String {
        let stores = self.stores().unwrap_or_default();
        let names = stores.iter().map(|store| nearest::name_of(store));
        let name = nearest::name_of(store);
        nearest::suggestion(&nearest::close_to(&name, names))
    }

    /// Joins the store of --store or NDSHM_STORE; without them, the only store of the root.
    pub(crate) fn manager(&self, create: bool) -> Result<Manager, Failure> {
        let store = match (&self.store, create) {
            (Some(store), _) => store.clone(),
            (None, _) => match &self.stores()?[..] {
                [store] => store.clone(),
                [] => {
                    return Err(Failure::usage(
                        "there are no stores: name one with --store or NDSHM_STORE, and make it \
                         with --create-store",
                    ));
                }
                stores => {
                    return Err(Failure::usage(format!(
                        "there are {} stores: choose one with --store or NDSHM_STORE",
                        stores.len()
                    )));
                }
            },
        };
        self.open_store(&store, create)
    }

    /// Joins the store of this path, or of this name in the root. With `create` it makes a
    /// persistent one if none exists.
    pub(crate) fn open_store(&self, store: &Path, create: bool) -> Result<Manager, Failure> {
        let builder = Manager::builder().lock_timeout(self.patience);
        match self.find_store(store) {
            Ok(found) => self.join(&found),
            Err(failure) if failure.code() != Code::NotFound || !create => Err(failure),
            Err(_) => match store
                .to_str()
                .filter(|_| store.components().count() == 1 && !store.is_absolute())
            {
                Some(name) => Ok(builder.name(name).persistent().open_or_create()?),
                None => Ok(builder.path(store).persistent().open_or_create()?),
            },
        }
    }

    /// Joins the store in this directory.
    pub(crate) fn join(&self, directory: &Path) -> Result<Manager, Failure> {
        let builder = Manager::builder().lock_timeout(self.patience);
        Ok(builder.path(directory).open()?)
    }
}
