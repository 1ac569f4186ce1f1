//! Finds the array that an argument of the command line names.

mod find;
pub(crate) mod listed;
pub(crate) mod nearest;
pub(crate) mod patterns;
pub(crate) mod ring;
pub(crate) mod selector;
mod slice;

use crate::{
    context::Context,
    elements::reading::Reading,
    failure::{Code, Failure, printable},
    shell,
    target::{find::info_of, selector::Selector},
};
use ndshm::{
    AnyArray, AnyFrame, AnyGrowing, AnyRing, ArrayId, ArrayInfo, ArrayKind, Error, GuardKind,
    Handle, Manager, Observer, Scope,
};
use std::{path::Path, time::Duration};

/// An array or a part of it, from `NAME`, `STORE/NAME`, a path, an id or a handle, each with
/// optional slices and fields in brackets.
pub(crate) struct Target {
    /// A handle that claims nothing: opening it never takes a remote array from its receiver.
    handle: Handle,
    selector: Option<Selector>,
    patience: Duration,
}

/// The purpose of opening an array.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Its elements as they are now: a copy where no view has them.
    Reading,
    /// To wait for processes that write it.
    Waiting,
    Writing,
}

impl Target {
    /// Finds the array that a text names.
    pub(crate) fn find(context: &Context, text: &str) -> Result<Self, Failure> {
        if text.starts_with("ndshm1:") {
            // A handle has no brackets.
            let (handle, selector) = text.split_at(text.find('[').unwrap_or(text.len()));
            let selector = (!selector.is_empty())
                .then(|| Selector::parse(selector))
                .transpose()?;
            let handle = handle.parse::<Handle>()?.with_scope(Scope::Store);
            return Ok(Self::of(context, handle, selector));
        }
        // A name may contain brackets: if an array of the whole name exists, there is no slice.
        let mut failure = match info_of(context, text) {
            Ok(info) => return Ok(Self::of(context, info.handle(), None)),
            Err(failure) => failure,
        };
        let mut is_sliced = false;
        for (name, selector) in selector::splits(text) {
            match info_of(context, name) {
                Ok(info) => {
                    let selector = Selector::parse(selector)?;
                    return Ok(Self::of(context, info.handle(), Some(selector)));
                }
                Err(other) => (failure, is_sliced) = (other, true),
            }
        }
        if !is_sliced && failure.code() == Code::NotFound {
            check_brackets(text)?;
            if context.find_store(Path::new(text)).is_ok() {
                let store = shell::quote(text);
                return Err(Failure::new(
                    failure.code(),
                    format!("{text}: it is a store; ndshm ls --store {store} lists its arrays"),
                ));
            }
        }
        Err(failure)
    }

    /// The whole array that this describes.
    pub(crate) fn of_info(context: &Context, info: &ArrayInfo) -> Self {
        Self::of(context, info.handle(), None)
    }

    fn of(context: &Context, handle: Handle, selector: Option<Selector>) -> Self {
        Self {
            handle,
            selector,
            patience: context.patience,
        }
    }

    /// The whole array's description.
    pub(crate) fn info(&self) -> Result<ArrayInfo, Failure> {
        Ok(self.handle.info()?)
    }

    /// The array's id.
    pub(crate) fn id(&self) -> ArrayId {
        self.handle.id()
    }

    /// The path of its file.
    pub(crate) fn path(&self) -> &Path {
        self.handle.path()
    }

    /// The array's name, or the digits of its id.
    pub(crate) fn name(&self) -> String {
        let stem = self.handle.path().file_stem().unwrap_or_default();
        printable(&stem.to_string_lossy())
    }

    /// Whether the array was released, also if another one has taken its name since.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            self.handle.info(),
            Err(Error::Released { .. }
                | Error::NotFound { .. }
                | Error::PathReused { .. }
                | Error::Closed { .. })
        )
    }

    /// The outcome of a wait for an array, which does not notice the end of its whole store: where
    /// its time is over and the array is gone, that is its failure.
    pub(crate) fn or_gone<T>(&self, outcome: ndshm::Result<T>) -> ndshm::Result<T> {
        match outcome {
            Err(Error::Timeout { .. }) if self.is_gone() => Err(Error::Released {
                path: self.handle.path().into(),
                id: self.id(),
            }),
            outcome => outcome,
        }
    }

    /// Waits until the process that made the array has frozen it.
    pub(crate) fn wait_frozen(&self, timeout: Duration) -> ndshm::Result<()> {
        self.or_gone(self.handle.read_only().wait_frozen(timeout))
    }

    /// Deletes the array, whichever its kind.
    pub(crate) fn release(&self) -> Result<(), Failure> {
        match self.info()?.kind {
            ArrayKind::Ring => Ok(self.handle.open_any_ring()?.release()?),
            _ => Ok(self.open(For::Reading)?.release()?),
        }
    }

    /// The array that grows that the argument names. Its waits last as long as the user said.
    pub(crate) fn growing(&self) -> Result<AnyGrowing, Failure> {
        let info = self.info()?;
        if info.kind != ArrayKind::Growing {
            return Err(Failure::usage(format!(
                "{}: it is {}, and only an array that grows has rows that are appended",
                info.name.unwrap_or_else(|| info.id.to_string()),
                match info.kind {
                    ArrayKind::Ring => "a ring",
                    _ => "an array of fixed shape",
                }
            )));
        }
        let store = self.handle.path().parent().unwrap_or(Path::new("/"));
        let _manager = Manager::builder()
            .path(store)
            .lock_timeout(self.patience)
            .open()?;
        Ok(self.handle.open_any_growing()?)
    }

    /// The ring that the argument names; `None` if it names another kind of array.
    pub(crate) fn ring(&self) -> Result<Option<AnyRing>, Failure> {
        match self.info()?.kind {
            ArrayKind::Ring => Ok(Some(self.handle.open_any_ring()?)),
            _ => Ok(None),
        }
    }

    /// Whether the argument has a slice or a field.
    pub(crate) fn is_sliced(&self) -> bool {
        self.selector.is_some()
    }

    /// A handle to the array or slice, as writable as the handle in the argument.
    pub(crate) fn view_handle(&self) -> Result<Handle, Failure> {
        match &self.selector {
            None => Ok(self.handle.clone()),
            Some(_) => Ok(self.open(For::Writing)?.handle()),
        }
    }

    /// An observer of the array's store.
    pub(crate) fn observer(&self) -> Result<Observer, Failure> {
        Ok(Observer::open(
            self.handle.path().parent().unwrap_or(Path::new("/")),
        )?)
    }

    /// Opens the array or slice to look at its elements, and says how they are read: without a lock
    /// if the user said so, as atomics if other processes use them as such.
    pub(crate) fn look(&self, unlocked: bool) -> Result<(AnyArray, Reading), Failure> {
        if unlocked {
            let (array, reading) = match self.info()?.kind {
                // A frame does not change.
                ArrayKind::Ring => (self.whole(For::Reading)?, Reading::Locked),
                _ => (self.whole(For::Reading)?, Reading::Unlocked),
            };
            return self.read_part_of(array, reading);
        }
        let guards = self.observer()?.state(&self.info()?)?.guards;
        let has_atomics = guards.iter().any(|guard| guard.kind == GuardKind::Atomic);
        if has_atomics && let Ok(array) = self.open(For::Writing) {
            let patience = self.patience;
            return Ok((array, Reading::Atomic { patience }));
        }
        let array = self.open(For::Reading);
        Ok((array.map_err(Failure::or_look_unlocked)?, Reading::Locked))
    }

    /// Opens the array or slice; of a ring a copy of its newest frame.
    pub(crate) fn open(&self, purpose: For) -> Result<AnyArray, Failure> {
        let array = self.whole(purpose)?;
        match (&self.selector, purpose) {
            (None, _) => Ok(array),
            (_, For::Reading) => Ok(self.read_part_of(array, Reading::Locked)?.0),
            (Some(selector), _) => selector.of(&array),
        }
    }

    fn whole(&self, purpose: For) -> Result<AnyArray, Failure> {
        let handle = match purpose {
            For::Reading | For::Waiting => self.handle.read_only(),
            For::Writing => self.handle.clone(),
        };
        // Joins the store, and sets the longest wait for its guards.
        let store = handle.path().parent().unwrap_or(Path::new("/"));
        let _manager = match Manager::builder()
            .path(store)
            .lock_timeout(self.patience)
            .open()
        {
            // The handle's error is clearer for a store that is closed or gone.
            Err(ndshm::Error::NotFound { .. } | ndshm::Error::Closed { .. }) => None,
            manager => Some(manager?),
        };
        let info = self.info()?;
        Ok(match (info.kind, purpose) {
            (ArrayKind::Ring, For::Writing) => return Err(ring::not_writable(&self.handle)),
            (ArrayKind::Ring, _) => ring::newest_frame(&self.handle)?,
            (ArrayKind::Growing, For::Writing) => return Err(not_writable(&info)),
            (ArrayKind::Growing, _) => rows_of(&handle, &info)?.open_any()?,
            _ => handle.open_any()?,
        })
    }

    /// A frame of the ring that the argument names, or its slice, as an array.
    pub(crate) fn frame(&self, frame: &AnyFrame) -> Result<AnyArray, Failure> {
        let array = ring::array_of(&self.handle, frame)?;
        Ok(self.read_part_of(array, Reading::Locked)?.0)
    }

    fn read_part_of(
        &self,
        array: AnyArray,
        reading: Reading,
    ) -> Result<(AnyArray, Reading), Failure> {
        match &self.selector {
            Some(selector) => selector.read(&array, reading),
            None => Ok((array, reading)),
        }
    }
}

/// A handle to the rows that an array that grows has now.
fn rows_of(handle: &Handle, info: &ArrayInfo) -> Result<Handle, Failure> {
    let row: usize = info.shape[1..].iter().product();
    let mut stride = info.dtype.itemsize() * row;
    let mut strides = vec![stride as isize];
    for &len in &info.shape[1..] {
        stride /= len;
        strides.push(stride as isize);
    }
    Ok(handle.read_only().with_layout(0, &info.shape, &strides)?)
}

/// The failure of a command that would write an array that grows.
fn not_writable(info: &ArrayInfo) -> Failure {
    Failure::usage(format!(
        "{}: it is an array that grows, whose rows never change; ndshm show, plot, export and cp \
         take its rows, ndshm rm deletes it",
        info.name.clone().unwrap_or_else(|| info.id.to_string())
    ))
}

/// An error if a slice has only one of its brackets.
fn check_brackets(text: &str) -> Result<(), Failure> {
    let (opened, closed) = (text.matches('[').count(), text.matches(']').count());
    let (lacks, place, whole) = match () {
        () if opened > closed => ("]", "at its end", format!("{text}]")),
        () if closed > opened => ("[", "at its beginning", "NAME[0:10, ::2]".to_owned()),
        () if opened > 0 => {
            return Err(Failure::usage(format!(
                "{text}: its brackets are neither slices nor fields: write NAME[0:10, ::2] or \
                 NAME[\"field\"], in quotes for the shell"
            )));
        }
        () => return Ok(()),
    };
    Err(Failure::usage(format!(
        "{text}: the slice has no {lacks} {place}; quote it for the shell, {}",
        shell::quote(&whole)
    )))
}
