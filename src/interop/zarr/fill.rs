//! The elements of restored arrays: chunk by chunk from a bucket into the memory of new arrays.

use super::{
    bucket::{Bucket, zeros},
    checkpoint::failed,
    grid::Grid,
    group::below,
    read::{Axis, Decoded, ZarrArray, copy},
    types::Run,
};
use crate::{
    array::Labels,
    element::dtype::DType,
    error::{Error, Result},
    format::{
        attributes,
        name::{self, ArrayName},
    },
    layout::{self, Order},
};
use ciborium::Value as Cbor;
use std::{
    collections::HashMap,
    io,
    ops::Range,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The most chunks of an array that are filled without a copy, each of which needs a word here.
const MOST_DIRECT: usize = 1 << 20;

/// An array to be made, and the Zarr arrays with its elements.
#[derive(Clone)]
pub(super) struct Job {
    /// Its name in the checkpoint, or its path in a group.
    pub(super) name: String,
    /// The path that its name is made of.
    pub(super) key: Option<String>,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) order: Order,
    pub(super) attrs: Option<Cbor>,
    pub(super) axis_names: Vec<Option<String>>,
    pub(super) max_len: Option<usize>,
    pub(super) is_frozen: bool,
    pub(super) is_poisoned: bool,
    /// The indices in the Zarr arrays of its first element.
    pub(super) starts: Vec<usize>,
    pub(super) columns: Vec<Column>,
}

/// A Zarr array with all elements of an array, or with a field of each.
#[derive(Clone)]
pub(super) struct Column {
    pub(super) folder: String,
    pub(super) zarr: ZarrArray,
    /// Bytes for each element of the array.
    pub(super) size: usize,
    pub(super) runs: Vec<Run>,
    /// The length and the CRC-32 of each object; without them a missing one is fill values.
    pub(super) checks: Option<HashMap<String, (u64, u32)>>,
}

impl Job {
    /// The part of the array in these ranges.
    pub(super) fn sliced(mut self, ranges: &[Range<usize>]) -> Result<Self> {
        let fits =
            |(range, &len): (&Range<usize>, &usize)| range.start <= range.end && range.end <= len;
        if ranges.len() != self.shape.len() || !ranges.iter().zip(&self.shape).all(fits) {
            let reason = format!(
                "{ranges:?} is no part of {:?}, which has shape {:?}: give a range within each \
                 axis",
                self.name, self.shape
            );
            return Err(Error::layout("restore a slice", reason));
        }
        self.starts = ranges.iter().map(|range| range.start).collect();
        self.shape = ranges.iter().map(Range::len).collect();
        // A part of the rows is no log that goes on.
        self.max_len = None;
        Ok(self)
    }

    /// The number of bytes of its elements; the largest number where they cannot be counted, which
    /// no store has room for.
    pub(super) fn byte_len(&self) -> u64 {
        layout::byte_len(&self.shape, self.dtype.itemsize()).map_or(u64::MAX, |len| len as u64)
    }

    pub(super) fn array_name(&self, prefix: &str) -> Result<String> {
        let name = match &self.key {
            Some(key) => name::of_key(&format!("{prefix}{key}")),
            None => format!("{prefix}{}", self.name),
        };
        ArrayName::parse(&name)?;
        Ok(name)
    }

    pub(super) fn labels(&self, name: &str) -> Result<Labels> {
        let key = self
            .key
            .as_ref()
            .filter(|key| name::key_of(name, None) != **key)
            .map(|key| (name::KEY_ATTRIBUTE, Cbor::Text(key.clone())));
        Ok(Labels {
            name: Some(ArrayName::parse(name)?),
            attrs: attributes::with_entries(self.attrs.as_ref(), key)?,
            axis_names: self.axis_names.clone(),
            ..Labels::default()
        })
    }

    /// The grid of the chunks, where each is all bytes of a part of the array's memory.
    fn direct_grid(&self) -> Option<Grid> {
        let [column] = &self.columns[..] else {
            return None;
        };
        let itemsize = self.dtype.itemsize();
        let is_whole =
            matches!(column.runs[..], [Run { at: 0, to: 0, len, .. }] if len == itemsize);
        let ndim = self.shape.len();
        let all = column.zarr.shape.len();
        let mut axes: Vec<usize> = (0..all).collect();
        if self.order == Order::F {
            axes[..ndim].reverse();
        }
        if !is_whole || self.shape != column.zarr.shape[..ndim] || !column.zarr.is_plain(&axes) {
            return None;
        }
        Grid::of_chunks(&self.shape, self.order, &column.zarr.chunk[..ndim])
            .filter(|grid| grid.len() <= MOST_DIRECT)
    }
}

/// An array that is being filled.
pub(super) struct Filling<'a> {
    job: &'a Job,
    way: Way<'a>,
}

enum Way<'a> {
    /// Chunks go straight into their parts of the memory.
    Direct {
        grid: Grid,
        parts: Vec<Mutex<&'a mut [u8]>>,
    },
    /// Chunks are decoded and copied.
    Copied {
        memory: Mutex<&'a mut [u8]>,
        /// The strides of the array in bytes.
        strides: Vec<usize>,
        /// Of each column the range of its chunks along each axis.
        chunks: Vec<Vec<Range<usize>>>,
    },
}

impl<'a> Filling<'a> {
    /// `memory` is all of the array.
    pub(super) fn new(job: &'a Job, memory: &'a mut [u8]) -> Self {
        let itemsize = job.dtype.itemsize();
        if let Some(grid) = job.direct_grid() {
            let mut parts = Vec::with_capacity(grid.len());
            let mut rest = memory;
            for number in 0..grid.len() {
                let (_, len) = grid.range(number);
                let (part, behind) = rest.split_at_mut(len * itemsize);
                parts.push(Mutex::new(part));
                rest = behind;
            }
            let way = Way::Direct { grid, parts };
            return Self { job, way };
        }
        if job.columns.len() > 1 || !matches!(job.columns[0].runs[..], [run] if run.len == itemsize)
        {
            // No column has the padding of structs.
            memory.fill(0);
        }
        let chunks = job.columns.iter().map(|column| {
            let axes = job.starts.iter().zip(&job.shape).zip(&column.zarr.chunk);
            axes.map(|((&start, &len), &chunk)| match len {
                0 => 0..0,
                len => start / chunk..(start + len).div_ceil(chunk),
            })
            .collect()
        });
        let strides = layout::contiguous_strides(&job.shape, job.order, itemsize);
        let way = Way::Copied {
            chunks: chunks.collect(),
            strides: strides
                .unwrap_or_default()
                .into_iter()
                .map(|stride| stride as usize)
                .collect(),
            memory: Mutex::new(memory),
        };
        Self { job, way }
    }

    /// The number of chunks to fetch.
    pub(super) fn count(&self) -> usize {
        match &self.way {
            Way::Direct { parts, .. } => parts.len(),
            Way::Copied { chunks, .. } => chunks.iter().map(|ranges| count_of(ranges)).sum(),
        }
    }

    /// Fetches a chunk. Returns the bytes of elements that it filled.
    pub(super) fn fill(&self, bucket: &dyn Bucket, place: &Path, number: usize) -> Result<u64> {
        match &self.way {
            Way::Direct { grid, parts } => {
                let mut part = parts[number].lock().unwrap_or_else(PoisonError::into_inner);
                self.fetch(bucket, place, grid, number, &mut part)?;
                Ok(part.len() as u64)
            }
            Way::Copied {
                memory,
                strides,
                chunks,
            } => {
                let (mut column, mut number) = (0, number);
                while number >= count_of(&chunks[column]) {
                    number -= count_of(&chunks[column]);
                    column += 1;
                }
                let coordinates = coordinates(&chunks[column], number);
                let column = &self.job.columns[column];
                let decoded = self.decoded(bucket, place, column, &coordinates)?;
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(self.place(column, &coordinates, decoded, &mut memory, strides))
            }
        }
    }

    /// Fetches a chunk into its part of the memory.
    fn fetch(
        &self,
        bucket: &dyn Bucket,
        place: &Path,
        grid: &Grid,
        number: usize,
        part: &mut [u8],
    ) -> Result<()> {
        let column = &self.job.columns[0];
        let mut coordinates = grid.coordinates(number);
        coordinates.resize(column.zarr.shape.len(), 0);
        let name = column.zarr.key(&coordinates);
        let key = below(&column.folder, &name);
        let check = column.checks.as_ref().and_then(|checks| checks.get(&name));
        let mut hasher = crc32fast::Hasher::new();
        let fetched = match check {
            Some(_) => bucket.get_range_with(&key, 0, part, &mut |piece| hasher.update(piece)),
            None => bucket.get_range(&key, 0, part),
        };
        match fetched {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if column.checks.is_some() {
                    return Err(missing(place, &key));
                }
                fill(part, &column.zarr.fill);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::transfer(place.join(key), "the chunk is cut off"));
            }
            Err(error) => return Err(failed(place, "read the chunk", &key)(error)),
        }
        if let Some(&(len, crc32)) = check {
            let whole = (grid.chunk_len() * self.job.dtype.itemsize()) as u64;
            let Ok(()) = zeros::<std::convert::Infallible>(whole - part.len() as u64, |piece| {
                hasher.update(piece);
                Ok(())
            });
            if len != whole || hasher.finalize() != crc32 {
                return Err(damaged(place, &key));
            }
        }
        Ok(())
    }

    /// The elements of a chunk; `None` if it is missing, and may be.
    fn decoded(
        &self,
        bucket: &dyn Bucket,
        place: &Path,
        column: &Column,
        coordinates: &[usize],
    ) -> Result<Option<Decoded>> {
        let mut all = coordinates.to_vec();
        all.resize(column.zarr.shape.len(), 0);
        let name = column.zarr.key(&all);
        let key = below(&column.folder, &name);
        let object = bucket
            .get(&key)
            .map_err(failed(place, "read the chunk", &key))?;
        let Some(object) = object else {
            return match column.checks {
                Some(_) => Err(missing(place, &key)),
                None => Ok(None),
            };
        };
        if let Some(&(len, crc32)) = column.checks.as_ref().and_then(|checks| checks.get(&name))
            && (object.bytes.len() as u64 != len || crc32fast::hash(&object.bytes) != crc32)
        {
            return Err(damaged(place, &key));
        }
        let decoded = column.zarr.decode(object.bytes);
        decoded
            .map(Some)
            .map_err(|reason| Error::transfer(place.join(key), format!("the chunk: {reason}")))
    }

    /// Copies the elements of a chunk that belong to the array. Returns their bytes.
    fn place(
        &self,
        column: &Column,
        coordinates: &[usize],
        decoded: Option<Decoded>,
        memory: &mut [u8],
        strides: &[usize],
    ) -> u64 {
        let job = self.job;
        let (mut lens, mut from, mut to) = (Vec::new(), 0, 0);
        for (axis, &coordinate) in coordinates.iter().enumerate() {
            let chunk = column.zarr.chunk[axis];
            let first = coordinate * chunk;
            let start = first.max(job.starts[axis]);
            let end = (first + chunk).min(job.starts[axis] + job.shape[axis]);
            lens.push(end - start);
            if let Some(decoded) = &decoded {
                from += (start - first) * decoded.strides[axis];
            }
            to += (start - job.starts[axis]) * strides[axis];
        }
        let count: usize = lens.iter().product();
        let axes = |source: &dyn Fn(usize) -> usize| {
            let axis = |(axis, &len)| Axis {
                len,
                from: source(axis),
                to: strides[axis],
            };
            lens.iter().enumerate().map(axis).collect::<Vec<_>>()
        };
        for run in &column.runs {
            let to = &mut memory[to + run.at..];
            match &decoded {
                Some(decoded) => {
                    let axes = axes(&|axis| decoded.strides[axis]);
                    copy(&decoded.bytes[from + run.to..], to, axes, run.len);
                }
                None => copy(&column.zarr.fill, to, axes(&|_| 0), run.len),
            }
        }
        (count * column.size) as u64
    }
}

fn count_of(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).product()
}

/// The coordinates of a chunk among those of the ranges, in the order C.
fn coordinates(ranges: &[Range<usize>], mut number: usize) -> Vec<usize> {
    let mut coordinates = vec![0; ranges.len()];
    for (coordinate, range) in coordinates.iter_mut().zip(ranges).rev() {
        *coordinate = range.start + number % range.len();
        number /= range.len();
    }
    coordinates
}

fn fill(part: &mut [u8], element: &[u8]) {
    match element.iter().all(|&byte| byte == 0) {
        true => part.fill(0),
        false => part
            .chunks_exact_mut(element.len())
            .for_each(|item| item.copy_from_slice(element)),
    }
}

fn missing(place: &Path, key: &str) -> Error {
    let reason = "the chunk is missing: the checkpoint is damaged; restore an older one by its id";
    Error::transfer(place.join(key), reason)
}

fn damaged(place: &Path, key: &str) -> Error {
    let reason = "the checksum of the chunk differs: the checkpoint is damaged; restore an older \
                  one by its id";
    Error::transfer(place.join(key), reason)
}

#[cfg(test)]
mod tests {
    use super::{super::read::advance, *};

    #[test]
    fn the_coordinates_of_chunks_follow_the_order_c() {
        let ranges = [1..3, 0..1, 4..7];
        let mut next = vec![0; 3];
        for number in 0..count_of(&ranges) {
            let expected: Vec<_> = next.iter().zip(&ranges).map(|(n, r)| n + r.start).collect();
            assert_eq!(coordinates(&ranges, number), expected);
            advance(&mut next, &[2, 1, 3]);
        }
    }
}
