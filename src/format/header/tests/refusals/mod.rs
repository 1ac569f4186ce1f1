//! Heads that must be refused, each for its own reason. If the checksum covers the fault, it is
//! corrected.

mod fixed_block;
mod keys;

use super::*;
use crate::format::header::map::shape_error;
use std::{
    ops::Range,
    time::{Duration, Instant},
};

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// Corrects the checksum as the format defines it: all of [0, 55) with the field as zero, the
/// header, the prefix.
fn mend(bytes: &mut [u8], header_end: usize, prefix: Range<usize>) {
    put(bytes, CRC_AT, &[0; 4]);
    let crc = crc32fast::hash(&[&bytes[..55], &bytes[2176..header_end], &bytes[prefix]].concat());
    put(bytes, CRC_AT, &crc.to_le_bytes());
}

fn refusal(bytes: &[u8]) -> HeaderError {
    parse(bytes).unwrap_err()
}

/// A file with any map and prefix that is valid otherwise.
fn assemble(map: &[u8], prefix: &[u8], data_len: usize) -> Vec<u8> {
    let header_end = HEADER_AT + map.len();
    let (padding_head, data_offset) = padding(header_end, prefix.len(), 0, MIN_ALIGN);
    let mut bytes = plain().encode(MIN_ALIGN, &STATE).unwrap()[..HEADER_AT].to_vec();
    put(
        &mut bytes,
        HEADER_END_AT,
        &(header_end as u32).to_le_bytes(),
    );
    put(
        &mut bytes,
        DATA_OFFSET_AT,
        &(data_offset as u64).to_le_bytes(),
    );
    put(&mut bytes, DATA_LEN_AT, &(data_len as u64).to_le_bytes());
    bytes.extend([map, &padding_head].concat());
    bytes.resize(data_offset - prefix.len(), 0);
    bytes.extend(prefix);
    mend(
        &mut bytes,
        header_end,
        data_offset - prefix.len()..data_offset,
    );
    bytes.resize(data_offset + data_len, 0);
    bytes
}

/// The plain file with another map.
fn with_map(map: &[u8]) -> Vec<u8> {
    assemble(map, &plain().prefix(48), 48)
}

/// The plain file with `item` as the value of an unknown key.
fn with_item(item: &[u8]) -> Vec<u8> {
    with_map(&[&[0xa6, 0x61, b'.'], item, &plain_map()[1..]].concat())
}

/// The plain file with the value of a key changed, or without it.
fn with_key(key: &str, value: Option<Value>) -> Vec<u8> {
    let mut entries = plain().to_value().into_map().unwrap();
    entries.retain(|(name, _)| name.as_text() != Some(key));
    entries.extend(value.map(|value| (key.into(), value)));
    with_map(&cbor::encode(&Value::Map(entries)))
}

/// The plain file with another shape, and with other strides if they are given, as any values.
fn with_shape(shape: Value, strides: Value) -> Vec<u8> {
    let mut entries = plain().to_value().into_map().unwrap();
    entries.retain(|(name, _)| !["shape", "strides"].contains(&name.as_text().unwrap()));
    entries.extend([("shape".into(), shape), ("strides".into(), strides)]);
    with_map(&cbor::encode(&Value::Map(entries)))
}

fn numbers<N: Copy + Into<Value>>(list: &[N]) -> Value {
    Value::Array(list.iter().map(|&n| n.into()).collect())
}

fn length(expected: usize, found: usize) -> HeaderError {
    HeaderError::Length {
        expected: expected as u64,
        found: found as u64,
    }
}

#[test]
fn a_header_ends_within_64_kib() {
    let sized = |len: usize| Header {
        attrs: Some(text_map(&[("x", Value::Bytes(vec![7; len]))])),
        ..plain()
    };
    let end = |header: &Header| HEADER_AT + cbor::encode(&header.to_value()).len();
    let largest = 60_000 + MAX_HEADER_END - end(&sized(60_000));
    assert_eq!(end(&sized(largest)), MAX_HEADER_END);
    assert!(parse(&file(&sized(largest), MIN_ALIGN)).is_ok());
    let refused = HeaderError::Bounds {
        field: "header_end",
        value: 65537,
    };
    assert_eq!(
        sized(largest + 1).encode(MIN_ALIGN, &STATE),
        Err(refused.clone())
    );
    assert_eq!(
        refusal(&with_map(&cbor::encode(&sized(largest + 1).to_value()))),
        refused
    );
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let encode = |header: Header| header.encode(MIN_ALIGN, &STATE).unwrap_err();
    let spec = |dtype, shape: &[usize]| {
        HeaderError::from(ArraySpec::new(dtype, shape, Order::C).unwrap_err())
    };
    assert_eq!(
        spec(u8::DTYPE, &[1; 33]),
        shape_error("more than 32 dimensions")
    );
    assert_eq!(
        spec(f64::DTYPE, &[1 << 31, 1 << 31]),
        shape_error("its size overflows")
    );
    assert_eq!(
        spec(f64::DTYPE, &[1 << 40, 0, 1 << 40]),
        shape_error("its size overflows")
    );
    let deep = (0..40).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    assert!(matches!(
        encode(Header {
            attrs: Some(text_map(&[("x", deep)])),
            ..plain()
        }),
        HeaderError::Cbor { .. }
    ));
}

#[test]
fn a_file_of_another_length_is_refused() {
    let bytes = file(&plain(), MIN_ALIGN);
    for cut in 0..HEADER_AT {
        assert_eq!(refusal(&bytes[..cut]), length(HEADER_AT, cut));
    }
    for cut in HEADER_AT..bytes.len() {
        assert_eq!(refusal(&bytes[..cut]), length(bytes.len(), cut));
    }
    assert_eq!(
        refusal(&[&bytes[..], &[0]].concat()),
        length(bytes.len(), bytes.len() + 1)
    );
    // A file that shrinks between reading its length and reading its head.
    for cut in 0..bytes.len() - 48 {
        assert!(
            matches!(
                Header::parse(&bytes[..cut], bytes.len() as u64),
                Err(HeaderError::Length { .. })
            ),
            "{cut}"
        );
    }
}

#[test]
fn every_change_of_a_byte_outside_the_state_block_is_found() {
    let attrs = Some(text_map(&[("unit", "mm".into())]));
    for header in [
        Header {
            attrs,
            axis_names: vec![None, None],
            ..plain()
        },
        header(i128::DTYPE, &[], Order::C),
    ] {
        let mut bytes = file(&header, MIN_ALIGN);
        let data_offset = parse(&bytes).unwrap().data_offset;
        for at in (0..STATE_AT).chain(HEADER_KEY_AT..data_offset) {
            let before = bytes[at];
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                bytes[at] = before ^ change;
                assert!(
                    parse(&bytes).is_err(),
                    "byte {at}: {before:02x} changed by {change:02x}"
                );
            }
            bytes[at] = before;
        }
        bytes[STATE_AT..HEADER_KEY_AT].fill(0);
        assert!(parse(&bytes).is_ok(), "the state block is not looked at");
    }
}

#[test]
fn an_open_looks_at_the_first_4_kib_of_the_padding_only() {
    let mut bytes = file(&plain(), 16384);
    let first = HEADER_AT + plain_map().len() + 8 + 3;
    let prefix = 16384 - plain().prefix(48).len();
    let refused = (first..prefix).filter(|&at| {
        bytes[at] = 1;
        let refused = parse(&bytes)
            .map_err(|error| assert_eq!(error, HeaderError::Padding))
            .is_err();
        bytes[at] = 0;
        refused
    });
    assert!(refused.eq(first..first + CHECKED_PADDING));
}

#[test]
fn whatever_is_accepted_would_be_written_the_same() {
    let map = plain_map();
    let mut accepted = 0;
    for at in 0..map.len() {
        for byte in (0..=255).step_by(if at % 7 == 0 { 1 } else { 11 }) {
            let mut changed = map.clone();
            changed[at] = byte;
            let bytes = with_map(&changed);
            if let Ok(parsed) = parse(&bytes) {
                assert!(
                    parsed.header.encode(MIN_ALIGN, &STATE).unwrap() == bytes[..parsed.data_offset],
                    "byte {at} of the map as {byte:02x}"
                );
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1000, "{accepted}: an id of any bytes is one");
}
