//! The padding between the header map and the payload: a byte string of zeros, after its own key.

use super::{Source, read, u32_at, u64_at};
use crate::{cbor, error::HeaderError, format::constants::*};
use std::ops::Range;

/// Longest head of the padding: its key and a byte string's head.
pub(super) const MAX_PADDING_HEAD: usize = 8 + 9;

/// The head of the padding, and the payload's offset: the first multiple of `align` that leaves
/// `room` bytes in the padding, and that a shortest head can reach.
pub(super) fn padding(
    header_end: usize,
    prefix_len: usize,
    room: usize,
    align: usize,
) -> (Vec<u8>, usize) {
    let least = header_end + PADDING_KEY.len() + prefix_len;
    let longest_head = MAX_PADDING_HEAD - PADDING_KEY.len();
    let needed = if room == 0 { 1 } else { longest_head + room };
    let mut data_offset = (least + needed).next_multiple_of(align);
    loop {
        let room = data_offset - least;
        for head_len in [1, 2, 3, 5] {
            let head = cbor::head(2, room.saturating_sub(head_len) as u64);
            if head.len() == head_len && room >= head_len {
                return ([&PADDING_KEY[..], &head].concat(), data_offset);
            }
        }
        data_offset += align;
    }
}

/// The zeros of the padding, in a file whose header was accepted: all of it, but for the work area
/// of this place.
pub(crate) fn padding_of(
    source: &(impl Source + ?Sized),
    file_len: u64,
    work: Option<Range<usize>>,
) -> Result<[Range<usize>; 2], HeaderError> {
    let fixed = read(source, 0, HEADER_AT, file_len)?;
    let header_end = u32_at(&fixed, HEADER_END_AT) as usize;
    let data_offset = u64_at(&fixed, DATA_OFFSET_AT) as usize;
    let head = read(
        source,
        header_end,
        MAX_PADDING_HEAD.min(data_offset.saturating_sub(header_end)),
        file_len,
    )?;
    let (head_len, len) = parse_padding(&head)?;
    let (start, end) = (header_end + head_len, header_end + head_len + len);
    let work = work.unwrap_or(end..end);
    Ok([start..work.start, work.end..end])
}

/// The length of the padding's key and head, and that of the padding itself.
pub(super) fn parse_padding(bytes: &[u8]) -> Result<(usize, usize), HeaderError> {
    let head = bytes
        .strip_prefix(&PADDING_KEY)
        .ok_or(HeaderError::Padding)?;
    let first = *head.first().ok_or(HeaderError::Padding)?;
    let (head_len, len) = match first {
        0x40..0x58 => (1, u64::from(first - 0x40)),
        0x58..=0x5b => {
            let width = 1 << (first - 0x58);
            let digits = head.get(1..1 + width).ok_or(HeaderError::Padding)?;
            (
                1 + width,
                digits
                    .iter()
                    .fold(0, |value, &byte| value << 8 | u64::from(byte)),
            )
        }
        _ => return Err(HeaderError::Padding),
    };
    if cbor::head(2, len).len() != head_len {
        return Err(HeaderError::Padding);
    }
    Ok((
        PADDING_KEY.len() + head_len,
        usize::try_from(len).map_err(|_| HeaderError::Padding)?,
    ))
}
