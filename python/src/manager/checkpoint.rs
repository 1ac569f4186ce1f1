//! Checkpoints of a store, and back.

use crate::{arguments, error::Raise};
use ndshm::{
    Bucket, Checkpoint, Checkpointed, DirectoryBucket, Error, Manager, Restore, Restored, Structs,
};
use pyo3::{
    exceptions::PyValueError,
    prelude::*,
    types::{PyDict, PyTuple},
};
use std::{ops::Range, path::PathBuf, time::Duration};

/// A place as Python names it: a path or a URL.
fn bucket_of(place: &str) -> PyResult<Box<dyn Bucket>> {
    match place.split_once("://") {
        None if place.is_empty() => Err(PyValueError::new_err("the place is empty")),
        None => Ok(Box::new(DirectoryBucket::new(place))),
        Some(("file", path)) => Ok(Box::new(DirectoryBucket::new(path))),
        Some(("s3" | "s3a", _)) => object_store(place),
        Some((scheme, _)) => Err(PyValueError::new_err(format!(
            "{scheme} is no place of checkpoints: take a directory or s3://BUCKET/PREFIX"
        ))),
    }
}

#[cfg(feature = "s3")]
fn object_store(url: &str) -> PyResult<Box<dyn Bucket>> {
    match ndshm_s3::S3Bucket::from_url(url) {
        Ok(bucket) => Ok(Box::new(bucket)),
        Err(error) => Err(PyValueError::new_err(format!("{url}: {error}"))),
    }
}

#[cfg(not(feature = "s3"))]
fn object_store(url: &str) -> PyResult<Box<dyn Bucket>> {
    Err(PyValueError::new_err(format!(
        "{url}: this build of ndshm has no object stores: build it with the feature s3, or take a \
         directory"
    )))
}

/// The settings of a checkpoint, from Python's keywords.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct CheckpointSettings {
    only: Option<Vec<String>>,
    keep: Option<usize>,
    structs: String,
    zstd: Option<i32>,
    shards: Option<usize>,
    poisoned: bool,
    each: bool,
    timeout: Option<f64>,
    in_flight: usize,
}

impl CheckpointSettings {
    /// Writes the checkpoint, without the interpreter's lock.
    pub(super) fn write<'py>(
        self,
        py: Python<'py>,
        manager: &Manager,
        place: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let bucket = bucket_of(place)?;
        let structs = match &*self.structs {
            "fields" => Structs::Fields,
            "struct" => Structs::Struct,
            other => {
                return Err(PyValueError::new_err(format!(
                    "structs must be 'fields' or 'struct', not {other:?}"
                )));
            }
        };
        let timeout = self.timeout.map(Duration::try_from_secs_f64).transpose();
        let timeout = timeout.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let show = caller(progress);
        let written = py.detach(|| {
            let mut checkpoint = Checkpoint::new()
                .only(self.only.unwrap_or_default())
                .structs(structs)
                .in_flight(self.in_flight)
                .progress(&show);
            if let Some(keep) = self.keep {
                checkpoint = checkpoint.keep(keep);
            }
            if let Some(level) = self.zstd {
                checkpoint = checkpoint.zstd(level);
            }
            if let Some(bytes) = self.shards {
                checkpoint = checkpoint.sharded(bytes);
            }
            if self.poisoned {
                checkpoint = checkpoint.poisoned();
            }
            if self.each {
                checkpoint = checkpoint.each_by_itself();
            }
            if let Some(timeout) = timeout {
                checkpoint = checkpoint.timeout(timeout);
            }
            checkpoint.write(manager, &*bucket)
        });
        described(py, &written.raise(py)?)
    }
}

fn described<'py>(py: Python<'py>, written: &Checkpointed) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("id", &written.id)?;
    dict.set_item("arrays", written.arrays)?;
    dict.set_item("nbytes", written.byte_len)?;
    dict.set_item("sent", written.sent)?;
    dict.set_item("referred", written.referred)?;
    dict.set_item("left", left(&written.left))?;
    dict.set_item("deleted", &written.deleted)?;
    dict.set_item("is_latest", written.is_latest)?;
    dict.set_item("is_compared", written.is_compared)?;
    Ok(dict)
}

fn left(left: &[ndshm::Left]) -> Vec<(String, String)> {
    left.iter()
        .map(|left| (left.key.clone(), left.reason.clone()))
        .collect()
}

/// The settings of a restore, from Python's keywords.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct RestoreSettings {
    checkpoint: Option<String>,
    only: Option<Vec<String>>,
    slices: Vec<(String, Vec<(usize, usize)>)>,
    prefix: String,
    skip_unsupported: bool,
    in_flight: usize,
}

impl RestoreSettings {
    /// The library's settings.
    fn restore<'a>(self) -> Restore<'a> {
        let mut restore = Restore::new()
            .only(self.only.unwrap_or_default())
            .prefix(self.prefix)
            .in_flight(self.in_flight);
        if let Some(id) = self.checkpoint {
            restore = restore.checkpoint(id);
        }
        for (name, ranges) in self.slices {
            let ranges = ranges.into_iter().map(|(start, end)| Range { start, end });
            restore = restore.slice(name, ranges);
        }
        match self.skip_unsupported {
            true => restore.skip_unsupported(),
            false => restore,
        }
    }

    /// Makes the arrays, without the interpreter's lock.
    pub(super) fn read<'py>(
        self,
        py: Python<'py>,
        manager: &Manager,
        place: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let bucket = bucket_of(place)?;
        let show = caller(progress);
        let restored: Result<Restored, Error> =
            py.detach(|| self.restore().progress(&show).read(manager, &*bucket));
        let restored = restored.raise(py)?;
        let dict = PyDict::new(py);
        dict.set_item("checkpoint", &restored.checkpoint)?;
        dict.set_item("names", &restored.names)?;
        dict.set_item("nbytes", restored.byte_len)?;
        dict.set_item("left", left(&restored.left))?;
        Ok(dict)
    }
}

/// Return the ids of the checkpoints at a place, the newest first.
#[pyfunction]
pub(crate) fn checkpoint_ids(py: Python<'_>, place: PathBuf) -> PyResult<Vec<String>> {
    let bucket = bucket_of(&place_of(place)?)?;
    py.detach(|| Checkpoint::ids(&*bucket)).raise(py)
}

/// Return what a restore would make, as a description and the descriptions of its arrays.
#[pyfunction]
pub(crate) fn checkpoint_contents<'py>(
    py: Python<'py>,
    place: PathBuf,
    settings: RestoreSettings,
) -> PyResult<(Bound<'py, PyDict>, Vec<Bound<'py, PyDict>>)> {
    let bucket = bucket_of(&place_of(place)?)?;
    let listing = py.detach(|| settings.restore().list(&*bucket)).raise(py)?;
    let arrays = listing.arrays.iter().map(|array| {
        let dict = PyDict::new(py);
        dict.set_item("name", &array.name)?;
        dict.set_item("shape", PyTuple::new(py, &array.shape)?)?;
        dict.set_item("dtype", array.dtype.to_string())?;
        dict.set_item("order", arguments::order_name(array.order))?;
        dict.set_item("nbytes", array.byte_len)?;
        dict.set_item("max_len", array.max_len)?;
        dict.set_item("frozen", array.is_frozen)?;
        dict.set_item("poisoned", array.is_poisoned)?;
        Ok(dict)
    });
    let arrays = arrays.collect::<PyResult<_>>()?;
    let dict = PyDict::new(py);
    dict.set_item("checkpoint", &listing.checkpoint)?;
    dict.set_item("left", left(&listing.left))?;
    Ok((dict, arrays))
}

/// Calls a function of Python with the bytes that are done. Its exceptions are told, and end
/// nothing: it runs in a thread of the transfer.
fn caller(progress: Option<Py<PyAny>>) -> impl Fn(u64, u64) + Sync {
    move |done, total| {
        if let Some(progress) = &progress {
            Python::attach(|py| {
                if let Err(error) = progress.call1(py, (done, total)) {
                    error.write_unraisable(py, Some(progress.bind(py)));
                }
            });
        }
    }
}

/// A place, from a path or a text.
pub(super) fn place_of(place: PathBuf) -> PyResult<String> {
    match place.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(bytes) => Err(PyValueError::new_err(format!("{bytes:?} is no UTF-8"))),
    }
}
