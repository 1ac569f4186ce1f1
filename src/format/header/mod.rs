//! The head of an array file: all bytes before the payload, made and checked without the file.
//!
//! Parsing follows the order of checks in `docs/format.md` and trusts nothing. [`Header::encode`]
//! would have written every accepted head in the same bytes, but for keys that this version does
//! not know. The state block inside the head is not read: it changes while it is read.
//!
//! `map` encodes and decodes the header map, `padding` the bytes behind it.

mod map;
mod padding;

pub(crate) use padding::padding_of;

use crate::{
    cbor,
    error::HeaderError,
    format::{array_spec::ArraySpec, constants::*, id::ArrayId, kind::Kind},
    layout::{MAX_NDIM, Order},
};
use ciborium::Value;
use padding::{MAX_PADDING_HEAD, padding, parse_padding};
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};
use uuid::Uuid;

/// RFC 8746 tag of a row-major array.
const TAG_ROW_MAJOR: u64 = 40;
/// RFC 8746 tag of a column-major array.
const TAG_COLUMN_MAJOR: u64 = 1040;
/// Longest payload prefix: its key, three tags, 32 dimensions, two heads.
const MAX_PREFIX: usize = 8 + 3 + 3 + 1 + 2 + 9 * MAX_NDIM + 9;

/// The record of an array's creation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Created {
    /// Nanoseconds since 1970.
    pub(crate) ns: u64,
    /// Software and version.
    pub(crate) software: Arc<str>,
    pub(crate) pid: u32,
    /// The kernel's boot id.
    pub(crate) boot: Uuid,
    /// The uuid of the store that the array was made in.
    pub(crate) store: Uuid,
}

/// The content of a header map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) id: ArrayId,
    pub(crate) spec: ArraySpec,
    /// Invariant: it accepts the specification.
    pub(crate) kind: Kind,
    /// One entry for each axis, or none at all.
    pub(crate) axis_names: Vec<Option<String>>,
    /// Attributes: a map with text keys.
    pub(crate) attrs: Option<Value>,
    pub(crate) created: Created,
}

/// A header with the place of its payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) header: Header,
    /// Bytes from the start of the file.
    pub(crate) data_offset: usize,
    /// Bytes of the payload; of a growing array the most that it can have.
    pub(crate) data_len: usize,
}

impl Parsed {
    /// The place of the words that processes share beside the state block; `None` for plain arrays.
    pub(crate) fn work_range(&self) -> Option<Range<usize>> {
        let Header { kind, spec, .. } = &self.header;
        if *kind == Kind::Array {
            return None;
        }
        let prefix_at = self.data_offset - self.header.prefix(self.data_len).len();
        kind.work_range(spec, prefix_at)
    }
}

/// The source of header bytes: a file, or memory in tests.
pub(crate) trait Source {
    fn read_at(&self, at: usize, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn read_at(&self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, at as u64)
    }
}

impl Source for [u8] {
    fn read_at(&self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = at
            .checked_add(buffer.len())
            .and_then(|end| self.get(at..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl Header {
    /// All bytes before the payload, with `state` as the state block. The payload starts at a
    /// multiple of `align`.
    pub(crate) fn encode(
        &self,
        align: usize,
        state: &[u8; STATE_LEN],
    ) -> Result<Vec<u8>, HeaderError> {
        let data_len = self.spec.byte_len();
        let map = cbor::encode(&self.to_value());
        if self.attrs.is_some() {
            // Attributes come from the user: nested too deep, they could be written but not read.
            cbor::decode(&map).map_err(|reason| HeaderError::Cbor { reason })?;
        }
        let header_end = HEADER_AT + map.len();
        if header_end > MAX_HEADER_END {
            return Err(HeaderError::Bounds {
                field: "header_end",
                value: header_end as u64,
            });
        }
        let prefix = self.prefix(data_len);
        let (padding_head, data_offset) =
            padding(header_end, prefix.len(), self.kind.room(&self.spec), align);

        let mut bytes = Vec::with_capacity(data_offset);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FIXED_HEAD);
        bytes.extend_from_slice(&(header_end as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(data_offset as u64).to_le_bytes());
        bytes.extend_from_slice(&(data_len as u64).to_le_bytes());
        bytes.resize(STATE_HEAD_AT, 0);
        bytes.extend_from_slice(&STATE_HEAD);
        bytes.extend_from_slice(state);
        bytes.extend_from_slice(&HEADER_KEY);
        bytes.extend_from_slice(&map);
        bytes.extend_from_slice(&padding_head);
        bytes.resize(data_offset - prefix.len(), 0);
        bytes.extend_from_slice(&prefix);
        let crc = checksum(
            &bytes[..STATE_HEAD_AT],
            &bytes[HEADER_KEY_AT..header_end],
            &prefix,
        );
        bytes[CRC_AT..DATA_OFFSET_AT].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Reads and checks the head of a file of `file_len` bytes.
    pub(crate) fn parse(
        source: &(impl Source + ?Sized),
        file_len: u64,
    ) -> Result<Parsed, HeaderError> {
        // A short file of another kind is no damaged array. No byte of an array is read twice.
        if file_len < HEADER_AT as u64 {
            let start = KIND_LEN.min(file_len as usize);
            if !MAGIC.starts_with(&read(source, 0, start, file_len)?) {
                return Err(HeaderError::Magic);
            }
        }
        let fixed: [u8; HEADER_AT] = read(source, 0, HEADER_AT, file_len)?
            .try_into()
            .map_err(|_| HeaderError::Magic)?;
        check_template(&fixed)?;
        let (_, data_offset, data_len) = bounds(&fixed)?;
        let expected = (data_offset + data_len) as u64;
        let parsed = Self::parse_head(source, &fixed, file_len);
        // Only a growing array may be shorter than it can become.
        let is_whole = expected == file_len
            || file_len < expected
                && file_len >= data_offset as u64
                && parsed
                    .as_ref()
                    .is_ok_and(|parsed| parsed.header.kind == Kind::Growing);
        if is_whole {
            parsed
        } else {
            Err(HeaderError::Length {
                expected,
                found: file_len,
            })
        }
    }

    fn parse_head(
        source: &(impl Source + ?Sized),
        fixed: &[u8; HEADER_AT],
        file_len: u64,
    ) -> Result<Parsed, HeaderError> {
        let (header_end, data_offset, data_len) = bounds(fixed)?;
        let readable = (header_end + MAX_PADDING_HEAD + CHECKED_PADDING).min(data_offset);
        let head = read(source, HEADER_KEY_AT, readable - HEADER_KEY_AT, file_len)?;
        let (keyed_map, rest) = head.split_at(header_end - HEADER_KEY_AT);
        let (padding_head_len, padding_len) = parse_padding(rest)?;
        let prefix_at = (header_end + padding_head_len)
            .checked_add(padding_len)
            .filter(|&at| at <= data_offset && data_offset - at <= MAX_PREFIX);
        let prefix_at = prefix_at.ok_or(HeaderError::Padding)?;
        let prefix = read(source, prefix_at, data_offset - prefix_at, file_len)?;
        let expected = u32_at(fixed, CRC_AT);
        let found = checksum(&fixed[..STATE_HEAD_AT], keyed_map, &prefix);
        if expected != found {
            return Err(HeaderError::Checksum { expected, found });
        }

        let value = cbor::decode(&keyed_map[HEADER_KEY.len()..])
            .map_err(|reason| HeaderError::Cbor { reason })?;
        let header = Header::from_value(&value)?;
        if header.spec.byte_len() != data_len {
            return Err(HeaderError::Shape {
                reason: "it does not make data_len bytes",
            });
        }
        if prefix != header.prefix(data_len) {
            return Err(HeaderError::Prefix);
        }
        let parsed = Parsed {
            header,
            data_offset,
            data_len,
        };
        // The zeros end where the work area begins.
        let padding_at = header_end + padding_head_len;
        let zeros = match (&parsed.header.kind, parsed.work_range()) {
            (Kind::Array, _) => padding_len,
            (_, Some(work)) if work.start >= padding_at => work.start - padding_at,
            _ => return Err(HeaderError::Padding),
        };
        let padding = &rest[padding_head_len..];
        if padding[..zeros.min(CHECKED_PADDING).min(padding.len())]
            .iter()
            .any(|&byte| byte != 0)
        {
            return Err(HeaderError::Padding);
        }
        Ok(parsed)
    }

    /// The bytes between padding and payload: a pure function of the header.
    pub(crate) fn prefix(&self, data_len: usize) -> Vec<u8> {
        let mut bytes = PAYLOAD_KEY.to_vec();
        if self.kind == Kind::Growing {
            // Its rows follow the item.
            bytes.extend(cbor::head(2, 0));
            return bytes;
        }
        let (spec, shape) = (&self.spec, self.spec.shape());
        if let Some(tag) = spec.dtype().typed_array_tag() {
            if !shape.is_empty() && !shape.contains(&0) {
                // Where both orders have the same strides, a reader cannot tell them apart.
                let is_row_major = spec.order() == Order::C
                    || spec.strides_in(Order::C) == spec.strides_in(Order::F);
                bytes.extend(cbor::head(
                    6,
                    if is_row_major {
                        TAG_ROW_MAJOR
                    } else {
                        TAG_COLUMN_MAJOR
                    },
                ));
                bytes.extend(cbor::head(4, 2));
                bytes.extend(cbor::head(4, shape.len() as u64));
                shape
                    .iter()
                    .for_each(|&n| bytes.extend(cbor::head(0, n as u64)));
            }
            bytes.extend(cbor::head(6, tag));
        }
        bytes.extend(cbor::head(2, data_len as u64));
        bytes
    }
}

fn read(
    source: &(impl Source + ?Sized),
    at: usize,
    len: usize,
    file_len: u64,
) -> Result<Vec<u8>, HeaderError> {
    let mut bytes = vec![0; len];
    let failed = |error: io::Error| match error.raw_os_error() {
        Some(errno) => HeaderError::Unreadable { errno },
        // The end of the file.
        None => HeaderError::Length {
            expected: (at + len) as u64,
            found: file_len,
        },
    };
    source.read_at(at, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn check_template(fixed: &[u8; HEADER_AT]) -> Result<(), HeaderError> {
    if fixed[..KIND_LEN] != MAGIC[..KIND_LEN] {
        return Err(HeaderError::Magic);
    }
    if fixed[KIND_LEN] != MAGIC[KIND_LEN] {
        return Err(HeaderError::Version {
            found: fixed[KIND_LEN],
        });
    }
    let pieces = [
        (MAGIC.len(), &FIXED_HEAD[..]),
        (RESERVED.start, &[0; 13]),
        (STATE_HEAD_AT, &STATE_HEAD),
        (HEADER_KEY_AT, &HEADER_KEY),
    ];
    match pieces
        .into_iter()
        .find(|(at, piece)| fixed[*at..at + piece.len()] != **piece)
    {
        Some((at, _)) => Err(HeaderError::Template { at }),
        None => Ok(()),
    }
}

/// `header_end`, `data_offset` and `data_len`, each within its bounds.
fn bounds(fixed: &[u8; HEADER_AT]) -> Result<(usize, usize, usize), HeaderError> {
    let header_end = u64::from(u32_at(fixed, HEADER_END_AT));
    let (data_offset, data_len) = (u64_at(fixed, DATA_OFFSET_AT), u64_at(fixed, DATA_LEN_AT));
    if header_end <= HEADER_AT as u64 || header_end > (MAX_HEADER_END as u64).min(data_offset) {
        return Err(out_of_bounds("header_end", header_end));
    }
    if !data_offset.is_multiple_of(MAX_ALIGN as u64) || i64::try_from(data_offset).is_err() {
        return Err(out_of_bounds("data_offset", data_offset));
    }
    data_offset
        .checked_add(data_len)
        .filter(|&end| end <= i64::MAX as u64)
        .ok_or(out_of_bounds("data_len", data_len))?;
    Ok((header_end as usize, data_offset as usize, data_len as usize))
}

fn out_of_bounds(field: &'static str, value: u64) -> HeaderError {
    HeaderError::Bounds { field, value }
}

/// The CRC-32 of the first bytes without its own field, the keyed header map, and the payload
/// prefix.
pub(crate) fn checksum(fixed: &[u8], keyed_map: &[u8], prefix: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed[..CRC_AT]);
    crc.update(&[0; 4]);
    crc.update(&fixed[DATA_OFFSET_AT..]);
    crc.update(keyed_map);
    crc.update(prefix);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests;
