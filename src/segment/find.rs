//! Finds the segment that a handle or a path names, and the elements of the handle in it.

use super::{
    SEGMENTS, Segment,
    header::{open_error, read_header},
    rename::moved,
};
use crate::{
    element::dtype::DType,
    error::{Error, Result},
    format::{array_spec::ArraySpec, directory_entry::StoreEntry, header::Header, id::ArrayId},
    handle::Handle,
    layout::{self, Bounds, Layout},
    store::{member::Member, permissions},
    sys::{fs::resolve, wait::Wait},
};
use ndarray::IxDyn;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

impl Segment {
    /// The segment that a handle names, also where the array has another name by now. Waits as
    /// [`Member::join`] does.
    pub(crate) fn of_handle(handle: &Handle, wait: Wait) -> Result<Arc<Segment>> {
        let (path, id, is_writable) = (handle.path(), handle.id(), handle.is_writable());
        match Self::with_id(path, id, is_writable, wait) {
            Err(error @ (Error::Released { .. } | Error::PathReused { .. })) => {
                match moved(path, id) {
                    Some(path) => Self::with_id(&path, id, is_writable, wait),
                    None => Err(error),
                }
            }
            found => found,
        }
    }

    /// The segment of the array of an id at a path.
    fn with_id(path: &Path, id: ArrayId, is_writable: bool, wait: Wait) -> Result<Arc<Segment>> {
        if let Some(segment) = Segment::lookup(path, id, is_writable) {
            return Ok(segment);
        }
        let released = || Error::Released {
            path: path.into(),
            id,
        };
        let directory = path.parent().ok_or_else(released)?;
        if let Some(member) = Member::lookup(directory).filter(|member| !member.is_lost()) {
            // The array names its store, so an opened one is of the right store. If the opening
            // fails, another store may be at the directory by now.
            match Segment::open(&member, path, Some(id), is_writable) {
                Err(_) if member.is_at_its_path().is_ok_and(|is_there| !is_there) => {}
                opened => return opened,
            }
        }
        let member = Member::join(directory, false, wait).map_err(|error| match error {
            Error::NotFound { .. } => released(),
            other => other,
        })?;
        Segment::open(&member, path, Some(id), is_writable)
    }

    /// The segment of the file at a path, for reading and writing.
    pub(crate) fn at_path(path: &Path) -> Result<Arc<Segment>> {
        // The name is judged before the directory that it happens to lead to.
        let is_directory = std::fs::symlink_metadata(path)
            .map_err(|source| open_error(source, path, None))?
            .is_dir();
        let (Some(parent), Some(name), false) = (path.parent(), path.file_name(), is_directory)
        else {
            return Err(Error::Untrusted {
                path: path.into(),
                reason: match permissions::has_store(path) {
                    true => "it is a store: open it with Manager::open, and its arrays by name",
                    false => "it is not a regular file but a directory: name the file of an array",
                }
                .into(),
            });
        };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        let directory = resolve(parent, "no such array")?;
        let member = Member::join(&directory, false, Wait::Forever).map_err(|error| {
            match permissions::has_store(&directory) {
                true => error,
                false => outside_of_a_store(path),
            }
        })?;
        Segment::open(&member, &directory.join(name), None, true)
    }

    /// The type of a handle's elements: that of the array, or of a field or part of it.
    pub(crate) fn dtype_of(&self, handle: Option<&Handle>) -> Result<DType> {
        let whole = self.header().spec.dtype();
        let Some(handle) = handle else {
            return Ok(whole.clone());
        };
        let unknown = || Error::Handle {
            reason: format!("its fingerprint is neither that of {whole} nor that of a part of it"),
        };
        whole
            .find(handle.fingerprint())
            .filter(|found| found == whole || handle.view().is_some())
            .ok_or_else(unknown)
    }

    /// Where the elements of a handle, or those of the whole array, lie in the payload; strides in
    /// units of `unit` bytes. Elements have the type `dtype`, which is the array's or a part of it,
    /// and are aligned to `align`.
    ///
    /// # Errors
    ///
    /// `Layout` if the view leaves the payload, names no elements of this type, or is for writing
    /// and two of its elements share bytes.
    pub(crate) fn locate(
        &self,
        handle: Option<&Handle>,
        dtype: &DType,
        align: usize,
        unit: usize,
    ) -> Result<Layout<IxDyn>> {
        let whole = &self.header().spec;
        let Some(view) = handle.and_then(Handle::view) else {
            let units = whole.dtype().itemsize() / unit;
            return Ok(Layout::whole(IxDyn(whole.shape()), whole.order(), units));
        };
        let shape: Vec<usize> = view.shape.iter().map(|&n| n as usize).collect();
        let strides: Vec<isize> = view.strides.iter().map(|&stride| stride as isize).collect();
        let (offset, itemsize) = (view.offset as usize, dtype.itemsize());
        let bounds = Bounds {
            len: match self.is_growing() {
                true => self.rows()? * self.row_len(),
                false => self.data_len(),
            },
            itemsize,
            align,
        };
        layout::check(bounds, offset, &shape, &strides)
            .map_err(|reason| Error::layout("open the view", reason))?;
        if !whole.dtype().has_view(dtype, offset, &shape, &strides) {
            return Err(Error::layout(
                "open the view",
                format!(
                    "it names no elements, fields or parts of type {dtype} of an array of {}",
                    whole.dtype()
                ),
            ));
        }
        if handle.is_some_and(Handle::is_writable) && !layout::disjoint(&shape, &strides, itemsize)
        {
            return Err(Error::layout(
                "open the view for writing",
                "some of its elements share bytes; ask for reading",
            ));
        }
        Ok(Layout::from_bytes(offset, IxDyn(&shape), &strides, unit))
    }
}

/// The error of a file whose directory is no store.
/// The file and the elements of the array that the lanes of a store name by this key, if this
/// process has it mapped, or else if its file is in the store. Looks at all files of the store.
pub(crate) fn described(store: &Member, key: u64) -> Option<(PathBuf, ArraySpec)> {
    // All of them, until the mutex is unlocked: any may be the last reference by now.
    let mapped: Vec<_> = {
        let segments = SEGMENTS.lock();
        let all = segments.by_inode.values();
        all.filter_map(Weak::upgrade).collect()
    };
    let has_key =
        |segment: &&Arc<Segment>| segment.key == key && segment.member.inode() == store.inode();
    if let Some(segment) = mapped.iter().find(has_key) {
        return Some((segment.path.clone(), segment.header().spec.clone()));
    }
    // In the store's own directory: another one may be at its path.
    let header = |name: &OsStr| {
        let file = store.place().open_file(name).ok()??;
        let len = file.metadata().ok()?.len();
        Some(Header::parse(&file, len).ok()?.header)
    };
    let names = store.place().names().ok()?.into_iter();
    names
        .filter(|name| matches!(StoreEntry::of(name), StoreEntry::Array(_)))
        .find_map(|name| {
            let found = header(&name).filter(|header| header.id.lane_key() == key)?;
            Some((store.directory().join(name), found.spec))
        })
}

fn outside_of_a_store(path: &Path) -> Error {
    match read_header(path, None) {
        Ok(_) => Error::Untrusted {
            path: path.into(),
            reason: "it is an array outside of a store: its directory has no .lock, so it was \
                     copied or moved here; open it in its store"
                .into(),
        },
        Err(error) => error,
    }
}
