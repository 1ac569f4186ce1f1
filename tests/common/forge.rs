//! Array files made by the words of the format, without the library: taken apart, changed, and put
//! together so that all else is right.
//!
//! The fuzz targets use it too.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses another part"
)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use ciborium::Value;
use std::ops::Range;

/// Where the state block lies.
pub const STATE: Range<usize> = 64..2176;
/// Where the header map starts.
pub const MAP_AT: usize = 2183;

/// The pieces of an array file that can be chosen freely.
#[derive(Clone)]
pub struct Forge {
    pub state: Vec<u8>,
    /// The encoded header map.
    pub map: Vec<u8>,
    /// The bytes between padding and payload.
    pub prefix: Vec<u8>,
    pub payload: Vec<u8>,
    /// The payload's length in the fixed block.
    pub data_len: u64,
}

impl Forge {
    /// The pieces of a valid file.
    pub fn of(file: &[u8]) -> Self {
        let (header_end, data_offset) = (number(file, 18, 4), number(file, 26, 8));
        Self {
            state: file[STATE].to_vec(),
            map: file[MAP_AT..header_end].to_vec(),
            prefix: file[prefix(file).unwrap()].to_vec(),
            payload: file[data_offset..].to_vec(),
            data_len: (file.len() - data_offset) as u64,
        }
    }

    /// All bytes before the payload, in right order and with the right checksum.
    pub fn head(&self) -> Vec<u8> {
        let header_end = MAP_AT + self.map.len();
        let mut data_offset = (header_end + 9 + self.prefix.len()).next_multiple_of(4096);
        let padding = loop {
            let room = data_offset - header_end - 8 - self.prefix.len();
            let fits = |len: &usize| item_head(2, (room - len) as u64).len() == *len;
            if let Some(len) = [1, 2, 3, 5]
                .iter()
                .filter(|&&len| len <= room)
                .find(|len| fits(len))
            {
                break [
                    b"\x67padding".to_vec(),
                    item_head(2, (room - len) as u64),
                    vec![0; room - len],
                ]
                .concat();
            }
            data_offset += 4096;
        };
        let mut file = Vec::with_capacity(data_offset + self.payload.len());
        file.extend(b"\xd9\xd9\xf7\xa6\x64ndsh\x01\x65fixed\x58\x25");
        file.extend((header_end as u32).to_le_bytes());
        file.extend([0; 4]);
        file.extend((data_offset as u64).to_le_bytes());
        file.extend(self.data_len.to_le_bytes());
        file.extend([0; 13]);
        file.extend(b"\x65state\x59\x08\x40");
        for piece in [
            &self.state[..],
            b"\x66header",
            &self.map,
            &padding,
            &self.prefix,
        ] {
            file.extend(piece);
        }
        mend(&mut file);
        file
    }

    /// The whole file.
    pub fn file(&self) -> Vec<u8> {
        [self.head(), self.payload.clone()].concat()
    }

    /// The header map.
    pub fn value(&self) -> Value {
        ciborium::from_reader(&self.map[..]).unwrap()
    }

    /// With another header map.
    pub fn with_value(&self, value: &Value) -> Self {
        let mut map = Vec::new();
        ciborium::into_writer(&sorted(value), &mut map).unwrap();
        Self {
            map,
            ..self.clone()
        }
    }

    /// With the values of these keys changed; a key without a value is taken away.
    pub fn with(&self, changes: &[(&str, Option<Value>)]) -> Self {
        let mut entries = self.value().into_map().unwrap();
        entries.retain(|(key, _)| {
            changes
                .iter()
                .all(|(changed, _)| key.as_text() != Some(changed))
        });
        entries.extend(
            changes
                .iter()
                .filter_map(|(key, value)| Some(((*key).into(), value.clone()?))),
        );
        self.with_value(&Value::Map(entries))
    }
}

/// The value with the keys of all its maps in the order of their encoded bytes.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Tag(tag, inner) => Value::Tag(*tag, Box::new(sorted(inner))),
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| (sorted(key), sorted(value)))
                .collect();
            entries.sort_by_cached_key(|(key, _)| {
                let mut bytes = Vec::new();
                ciborium::into_writer(key, &mut bytes).unwrap();
                bytes
            });
            Value::Map(entries)
        }
        other => other.clone(),
    }
}

/// The head of a CBOR item in its shortest form.
pub fn item_head(major: u8, value: u64) -> Vec<u8> {
    let (width, code) = match value {
        0..24 => return vec![major << 5 | value as u8],
        24..0x100 => (1, 24),
        0x100..0x1_0000 => (2, 25),
        0x1_0000..0x1_0000_0000 => (4, 26),
        _ => (8, 27),
    };
    [&[major << 5 | code], &value.to_be_bytes()[8 - width..]].concat()
}

/// An unsigned number, little-endian.
pub fn number(file: &[u8], at: usize, width: usize) -> usize {
    file[at..at + width]
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// Where the payload's prefix lies, if the numbers before it say that.
pub fn prefix(file: &[u8]) -> Option<Range<usize>> {
    let (header_end, data_offset) = (number(file.get(..MAP_AT)?, 18, 4), number(file, 26, 8));
    let head = file.get(header_end..)?.strip_prefix(b"\x67padding")?;
    let (head_len, len) = match *head.first()? {
        first @ 0x40..0x58 => (1, usize::from(first - 0x40)),
        first @ 0x58..=0x5b => {
            let width = 1 << (first - 0x58);
            (
                1 + width,
                head.get(1..1 + width)?
                    .iter()
                    .fold(0usize, |value, &byte| value << 8 | usize::from(byte)),
            )
        }
        _ => return None,
    };
    let start = len.checked_add(header_end + 8 + head_len)?;
    (start <= data_offset && data_offset <= file.len()).then_some(start..data_offset)
}

/// Makes the checksum right again, where the numbers before it leave something to be summed: [0,
/// 55) with the field as zero, the header, the payload's prefix.
pub fn mend(file: &mut [u8]) {
    let Some(prefix) = prefix(file) else { return };
    let header_end = number(file, 18, 4);
    if (MAP_AT..=file.len()).contains(&header_end) {
        let crc = crc32fast::hash(
            &[
                &file[..22],
                &[0; 4],
                &file[26..55],
                &file[2176..header_end],
                &file[prefix],
            ]
            .concat(),
        );
        put(file, 22, &crc.to_le_bytes());
    }
}

/// Overwrites some bytes.
pub fn put(file: &mut [u8], at: usize, new: &[u8]) {
    file[at..at + new.len()].copy_from_slice(new);
}
