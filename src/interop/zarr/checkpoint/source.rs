//! The arrays of a checkpoint.

use super::Checkpoint;
use crate::{
    array::any::AnyArray,
    error::{Error, Result},
    format::{kind::ArrayKind, name::ArrayName},
    inspect::info::ArrayInfo,
    interop::{
        failure,
        selection::Left,
        zarr::{
            encode::{self, Codecs},
            grid::Grid,
            record::Chunk,
            types::{self, Column},
        },
    },
    manager::Manager,
};
use serde_json::{Value, json};
use std::{path::Path, sync::Mutex};

/// An array of the checkpoint.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) info: ArrayInfo,
    pub(super) array: AnyArray,
    pub(super) is_frozen: bool,
    pub(super) is_poisoned: bool,
    pub(super) grid: Grid,
    /// The lengths of an inner chunk of a shard.
    pub(super) inner: Option<Vec<usize>>,
    pub(super) columns: Vec<Column>,
    pub(super) nodes: Vec<String>,
    pub(super) encoding: String,
    /// The chunks of each column that are done, by their numbers.
    pub(super) done: Mutex<Vec<Vec<Option<Chunk>>>>,
}
impl Source {
    pub(super) fn itemsize(&self) -> usize {
        self.info.dtype.itemsize()
    }

    /// The key of a chunk of a column, without the id of the checkpoint.
    pub(super) fn key(&self, column: usize, number: usize) -> String {
        let coordinates = self.grid.coordinates(number);
        chunk_key(
            &self.nodes[column],
            &coordinates,
            self.columns[column].inner.len(),
        )
    }
}
/// The key of a chunk, in the default encoding of Zarr.
pub(in crate::interop::zarr) fn chunk_key(
    node: &str,
    coordinates: &[usize],
    inner: usize,
) -> String {
    let mut key = format!("{node}/c");
    for coordinate in coordinates.iter().chain(&vec![0; inner]) {
        key += &format!("/{coordinate}");
    }
    key
}
/// The arrays of a checkpoint, and what is left.
pub(super) fn sources(
    settings: &Checkpoint<'_>,
    manager: &Manager,
    place: &Path,
) -> Result<(Vec<Source>, Vec<Left>)> {
    let (mut sources, mut left) = (Vec::new(), Vec::new());
    let list = manager.list()?;
    let names: Vec<&str> = list
        .iter()
        .filter_map(|info| info.name.as_deref())
        .collect();
    settings
        .selection
        .check(names.iter().copied(), &[])
        .map_err(failure::writing(place))?;
    for info in list {
        let Some(name) = info.name.clone() else {
            if settings.selection.only.is_empty() {
                let reason = "it has no name: give it one by ArrayOptions::name";
                left.push(Left::new(info.id.to_string(), reason));
            }
            continue;
        };
        if !settings.selection.takes(&name) {
            continue;
        }
        if info.kind == ArrayKind::Ring {
            left.push(Left::new(name, "it is a ring, whose frames pass"));
            continue;
        }
        match source(settings, name, info) {
            Ok(source) => sources.push(source),
            // Released since it was listed.
            Err(Error::NotFound { .. } | Error::Released { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if settings.selection.only.is_empty() {
        for damage in manager.damaged()? {
            let path = match &damage {
                Error::Header { path, .. } | Error::Io { path, .. } => path.file_stem(),
                _ => None,
            };
            let key = path.map_or("?".into(), |stem| stem.to_string_lossy().into_owned());
            left.push(Left::new(key, damage.to_string()));
        }
    }
    Ok((sources, left))
}

fn source(settings: &Checkpoint<'_>, name: String, mut info: ArrayInfo) -> Result<Source> {
    ArrayName::parse(&name)?;
    let handle = info.handle().read_only();
    let (array, is_frozen) = match info.kind {
        // Its rows are a frozen view, also where more are appended.
        ArrayKind::Growing => {
            let growing = handle.open_any_growing()?;
            let is_frozen = growing.is_frozen();
            (growing.rows(..)?, is_frozen)
        }
        _ => {
            let array = handle.open_any()?;
            let is_frozen = array.is_frozen();
            (array, is_frozen)
        }
    };
    info.shape = array.shape().to_vec();
    info.byte_len = array.len() * array.dtype().itemsize();
    let itemsize = info.dtype.itemsize();
    let mut grid = match info.kind {
        ArrayKind::Growing => {
            let max_len = info.max_len.unwrap_or(usize::MAX);
            Grid::of_rows(&info.shape, max_len, itemsize, settings.chunk_len)
        }
        _ => Grid::new(&info.shape, info.order, itemsize, settings.chunk_len),
    };
    let inner = settings
        .codecs
        .shard
        .filter(|_| !array.is_empty())
        .and_then(|target| grid.shard(itemsize, target));
    let columns = types::columns(&info.dtype, settings.structs);
    let node = types::node_of(&name);
    let nodes = columns
        .iter()
        .map(|column| match &column.field {
            Some(field) => format!("{node}/{}", types::node_of(field)),
            None => node.clone(),
        })
        .collect();
    let chunks = grid.len();
    let mut source = Source {
        is_frozen,
        is_poisoned: false,
        done: Mutex::new(vec![vec![None; chunks]; columns.len()]),
        encoding: String::new(),
        name,
        info,
        array,
        grid,
        inner,
        columns,
        nodes,
    };
    let described: Vec<_> = source
        .columns
        .iter()
        .map(|column| {
            json!([
                chunk_shape(&source, column),
                column.data_type,
                codecs_of(&source, column, settings.codecs),
            ])
        })
        .collect();
    let dtype = source.info.dtype.to_string();
    let text = json!([dtype, described]).to_string();
    source.encoding = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
    Ok(source)
}

pub(super) fn chunk_shape(source: &Source, column: &Column) -> Vec<usize> {
    [source.grid.chunk_shape(), column.inner.clone()].concat()
}

pub(super) fn codecs_of(source: &Source, column: &Column, codecs: Codecs) -> Value {
    let ndim = source.info.shape.len();
    encode::codecs_json(
        codecs,
        column,
        source.info.order,
        ndim,
        source.inner.as_deref(),
    )
}

/// The elements of consecutive chunks, as a view of one axis in the order of memory.
pub(super) fn view_of(source: &Source, numbers: &[usize]) -> Result<AnyArray> {
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    let start = source.grid.range(first).0;
    let (last, len) = source.grid.range(last);
    let itemsize = source.itemsize();
    source.array.with_layout(
        start * itemsize,
        &[last + len - start],
        &[itemsize as isize],
    )
}
