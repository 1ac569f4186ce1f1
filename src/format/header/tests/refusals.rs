//! Heads that must be refused, each for its own reason. If the checksum covers the fault, it is
//! corrected.

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
    let (padding_head, data_offset) = padding(header_end, prefix.len(), MIN_ALIGN);
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

#[test]
fn a_damaged_fixed_block_is_refused_for_what_is_wrong_in_it() {
    let good = file(&plain(), MIN_ALIGN);
    let header_end = HEADER_AT + plain_map().len();
    let prefix = 4096 - plain().prefix(48).len()..4096;
    let rows: [(usize, &[u8], HeaderError); 27] = [
        (0, b"\x93NUMPY", HeaderError::Magic),
        (3, &[0xa8], HeaderError::Magic),
        (9, &[2], HeaderError::Version { found: 2 }),
        (9, &[0x17], HeaderError::Version { found: 0x17 }),
        (10, &[0x66], HeaderError::Template { at: 10 }),
        (17, &[0x26], HeaderError::Template { at: 10 }),
        (42, &[1], HeaderError::Template { at: 42 }),
        (54, &[0x80], HeaderError::Template { at: 42 }),
        (63, &[0x41], HeaderError::Template { at: 55 }),
        (2176, b"\x66Header", HeaderError::Template { at: 2176 }),
        (18, &0u32.to_le_bytes(), out_of_bounds("header_end", 0)),
        (
            18,
            &2182u32.to_le_bytes(),
            out_of_bounds("header_end", 2182),
        ),
        (
            18,
            &2183u32.to_le_bytes(),
            out_of_bounds("header_end", 2183),
        ),
        (
            18,
            &4097u32.to_le_bytes(),
            out_of_bounds("header_end", 4097),
        ),
        (
            18,
            &u32::MAX.to_le_bytes(),
            out_of_bounds("header_end", 0xffff_ffff),
        ),
        (
            26,
            &0u64.to_le_bytes(),
            out_of_bounds("header_end", header_end as u64),
        ),
        (
            26,
            &2176u64.to_le_bytes(),
            out_of_bounds("header_end", header_end as u64),
        ),
        (
            26,
            &4097u64.to_le_bytes(),
            out_of_bounds("data_offset", 4097),
        ),
        (
            26,
            &4128u64.to_le_bytes(),
            out_of_bounds("data_offset", 4128),
        ),
        (
            26,
            &(u64::MAX - 63).to_le_bytes(),
            out_of_bounds("data_offset", u64::MAX - 63),
        ),
        (
            26,
            &(1u64 << 63).to_le_bytes(),
            out_of_bounds("data_offset", 1 << 63),
        ),
        (
            34,
            &u64::MAX.to_le_bytes(),
            out_of_bounds("data_len", u64::MAX),
        ),
        (
            34,
            &(u64::MAX - 4095).to_le_bytes(),
            out_of_bounds("data_len", u64::MAX - 4095),
        ),
        (
            34,
            &(i64::MAX as u64 - 4095).to_le_bytes(),
            out_of_bounds("data_len", i64::MAX as u64 - 4095),
        ),
        (
            34,
            &(i64::MAX as u64 - 4096).to_le_bytes(),
            length(i64::MAX as usize, good.len()),
        ),
        (34, &49u64.to_le_bytes(), length(4096 + 49, good.len())),
        (26, &4160u64.to_le_bytes(), length(4160 + 48, good.len())),
    ];
    for (at, new, expected) in rows {
        let mut bytes = good.clone();
        put(&mut bytes, at, new);
        mend(&mut bytes, header_end, prefix.clone());
        assert_eq!(refusal(&bytes), expected, "{new:02x?} at {at}");
    }
    let mut bytes = good.clone();
    bytes[CRC_AT] ^= 1;
    let HeaderError::Checksum { expected, found } = refusal(&bytes) else {
        panic!("another refusal than that of the checksum");
    };
    assert_eq!(expected ^ found, 1);
}

#[test]
fn damaged_padding_is_refused() {
    let good = file(&plain(), MIN_ALIGN);
    let header_end = HEADER_AT + plain_map().len();
    let room = 4096 - plain().prefix(48).len() - header_end - 11;
    let rows: [(usize, &[u8]); 9] = [
        (0, &[0x68]),
        (7, b"G"),
        (8, &[0x40]),
        (8, &[0x79]),
        (8, &[0x5c]),
        (8, &[0x5f]),
        (8, &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (9, &u16::MAX.to_be_bytes()),
        (11, &[1]),
    ];
    for (at, new) in rows {
        let mut bytes = good.clone();
        put(&mut bytes, header_end + at, new);
        assert_eq!(refusal(&bytes), HeaderError::Padding, "{new:02x?} at {at}");
    }
    // The same number of bytes with a head that is longer than necessary.
    let mut bytes = good.clone();
    put(
        &mut bytes,
        header_end + 8,
        &[&[0x5a][..], &(room as u32 - 2).to_be_bytes()].concat(),
    );
    assert_eq!(refusal(&bytes), HeaderError::Padding);
    // No room for any padding.
    let mut bytes = assemble(&plain_map(), &[], 64);
    put(
        &mut bytes,
        DATA_OFFSET_AT,
        &(header_end.next_multiple_of(64) as u64).to_le_bytes(),
    );
    bytes.truncate(header_end.next_multiple_of(64) + 64);
    put(&mut bytes, DATA_LEN_AT, &64u64.to_le_bytes());
    assert_eq!(refusal(&bytes), HeaderError::Padding);
}

#[test]
fn cbor_that_is_not_deterministic_is_refused() {
    assert!(
        parse(&with_item(&[0x01])).is_ok(),
        "an unknown key alone is ignored"
    );
    let nested = |head: &[u8]| [head.repeat(60_000 / head.len()), vec![0x01]].concat();
    let items: [(&str, &[u8]); 25] = [
        ("integer that is too long", &[0x18, 0x01]),
        (
            "integer that is too long",
            &[0x1b, 0, 0, 0, 0, 0, 0, 0, 0xff],
        ),
        ("length that is too long", &[0x78, 0x01, b'a']),
        (
            "float that is too long",
            &[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        ),
        ("indefinite text", &[0x7f, 0x61, b'a', 0xff]),
        ("indefinite bytes", &[0x5f, 0x41, b'a', 0xff]),
        ("indefinite array", &[0x9f, 0x01, 0xff]),
        ("indefinite map", &[0xbf, 0x61, b'a', 0x01, 0xff]),
        ("array of 2^60", &[0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        ("map of 2^60", &[0xbb, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        (
            "bytes of 2^64-1",
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "text of 2^64-1",
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("nested arrays", &nested(&[0x81])),
        ("nested tags", &nested(&[0xc6])),
        ("nested maps", &nested(&[0xa1, 0x00])),
        ("nested keys", &nested(&[0xa1])),
        ("bad UTF-8", &[0x61, 0xff]),
        ("surrogate in UTF-8", &[0x63, 0xed, 0xa0, 0x80]),
        ("reserved", &[0x1c]),
        ("bare break", &[0xff]),
        ("undefined", &[0xf7]),
        ("unassigned simple value", &[0xe0]),
        ("bignum that fits", &[0xc2, 0x41, 0x01]),
        ("duplicate key", &[0xa2, 0x61, b'a', 1, 0x61, b'a', 2]),
        ("unsorted keys", &[0xa2, 0x61, b'b', 1, 0x61, b'a', 2]),
    ];
    for (what, item) in items {
        assert!(
            matches!(refusal(&with_item(item)), HeaderError::Cbor { .. }),
            "{what}"
        );
    }
    let map = plain_map();
    let maps: [(&str, Vec<u8>); 9] = [
        (
            "duplicate key",
            [&[0xa7, 0x61, b'.', 1, 0x61, b'.', 2], &map[1..]].concat(),
        ),
        (
            "key of the format twice",
            [&[0xa6], &map[1..23], &map[1..]].concat(),
        ),
        (
            "unsorted keys",
            [&[0xa6], &map[1..], &[0x61, b'.', 1]].concat(),
        ),
        ("non-text key", [&[0xa6, 0x01, 0x01], &map[1..]].concat()),
        ("bytes behind the map", [&map[..], &[0]].concat()),
        ("map cut", map[..map.len() - 1].to_vec()),
        ("head too long", [&[0xb8, 5], &map[1..]].concat()),
        ("an array", [&[0x8a], &map[1..]].concat()),
        ("tagged", [&[0xc6], &map[..]].concat()),
    ];
    for (what, map) in maps {
        assert!(
            matches!(refusal(&with_map(&map)), HeaderError::Cbor { .. }),
            "{what}"
        );
    }
}

#[test]
fn refusing_takes_no_longer_than_reading() {
    // Keys that are maps whose keys are maps, and so on. Encoding each key of each level again
    // would double the work with every level.
    let key = (0..14).fold(vec![0x00], |inner, _| {
        [&[0xa1], &inner[..], &[0x00]].concat()
    });
    let entries = (0..1300u16)
        .map(|n| [&[0x82, 0x19], &(1000 + n).to_be_bytes()[..], &key].concat())
        .collect::<Vec<_>>()
        .concat();
    let item = [&[0x99, 0x05, 0x14], &entries[..]].concat();
    let start = Instant::now();
    assert!(parse(&with_item(&item)).is_ok());
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
}

fn uuid(tag: u64, len: usize) -> Value {
    Value::Tag(tag, Box::new(Value::Bytes(vec![1; len])))
}

/// The entry `created` with another value of this key, or without the key.
fn created(key: &str, value: Option<Value>) -> Option<Value> {
    let header = plain().to_value().into_map().unwrap();
    let mut entries = header[4].1.clone().into_map().unwrap();
    entries.retain(|(name, _)| name.as_text() != Some(key));
    entries.extend(value.map(|value| (key.into(), value)));
    Some(Value::Map(entries))
}

fn name_list(names: &[&str]) -> Option<Value> {
    Some(Value::Array(
        names.iter().map(|&name| name.into()).collect(),
    ))
}

#[test]
fn a_key_that_is_missing_or_of_another_kind_is_named() {
    assert!(parse(&with_key("later", Some(1.into()))).is_ok());
    assert!(parse(&with_key("created", created("later", Some(1.into())))).is_ok());
    let mut non_text = created("", None).unwrap().into_map().unwrap();
    non_text.push((1.into(), 1.into()));
    let rows: Vec<(&'static str, Option<Value>)> = vec![
        ("id", None),
        ("dtype", None),
        ("shape", None),
        ("strides", None),
        ("created", None),
        ("id", Some("1d".into())),
        ("id", Some(Value::Bytes(vec![1; 16]))),
        ("id", Some(uuid(37, 15))),
        ("id", Some(uuid(38, 16))),
        ("shape", Some(6.into())),
        ("shape", Some(Value::Array(vec![2.0.into(), 3.0.into()]))),
        ("shape", Some(numbers(&[-2, -3]))),
        ("shape", Some(numbers(&["2", "3"]))),
        (
            "shape",
            Some(Value::Array(vec![
                Value::Tag(2, Box::new(Value::Bytes(vec![1; 9]))),
                0.into(),
            ])),
        ),
        ("shape", Some(numbers(&[0, u64::MAX]))),
        ("shape", Some(numbers(&[0, 1u64 << 63]))),
        ("strides", Some(Value::Null)),
        ("strides", Some(numbers(&[-24, -8]))),
        ("strides", Some(numbers(&[i64::MIN, 8]))),
        ("dims", Some("row".into())),
        ("dims", name_list(&["row"])),
        ("dims", Some(numbers(&[1, 2]))),
        ("attrs", Some(Value::Array(vec![]))),
        ("attrs", Some(Value::Map(vec![(1.into(), 1.into())]))),
        ("crit", Some("crit".into())),
        ("crit", Some(Value::Array(vec![]))),
        ("crit", Some(numbers(&[1]))),
        ("created", Some(1.into())),
        ("created", created("ns", None)),
        ("created", created("sw", None)),
        ("created", created("pid", None)),
        ("created", created("boot", None)),
        ("created", created("store", None)),
        ("created", created("ns", Some((-1).into()))),
        ("created", created("sw", Some(1.into()))),
        ("created", created("pid", Some("1".into()))),
        ("created", created("boot", Some(uuid(37, 17)))),
        ("created", created("store", Some("0".into()))),
        ("created", Some(Value::Map(non_text))),
    ];
    for (key, value) in rows {
        let what = format!("{key} {value:?}");
        assert_eq!(
            refusal(&with_key(key, value)),
            HeaderError::Key { key },
            "{what}"
        );
    }
    let unknown = with_key("crit", name_list(&["compression", "dims"]));
    assert_eq!(
        refusal(&unknown),
        HeaderError::Critical {
            key: "compression".into()
        }
    );
}

#[test]
fn an_element_type_that_is_none_is_refused() {
    let texts = [
        "|O",
        "<f3",
        "=f8",
        "f8",
        "<f16",
        ">f8",
        "",
        "|V0",
        "(3)<f4",
        "(1048576,2)<f4",
        "(9223372036854775807,9223372036854775807)<f8",
    ];
    let pair =
        |names, offsets: &[u64]| structure(names, &["<f8".into(), "<f8".into()], offsets, 16);
    let structs = [
        structure(&["x"], &["<f8".into()], &[0], 0),
        structure(&["x"], &["<f8".into()], &[0], 1 << 40),
        structure(&["x"], &["|O".into()], &[0], 8),
        pair(&["x", "y"], &[0, 9]),
        pair(&["x", "y"], &[0, u64::MAX]),
        pair(&["x", "y"], &[0, 4]),
        pair(&["x", "x"], &[0, 8]),
        pair(&["x", ""], &[0, 8]),
        pair(&["x"], &[0, 8]),
        pair(&["x", "y"], &[0]),
        structure(&["x"], &[1.into()], &[0], 8),
        nested_structs(9),
        text_map(&[
            ("names", numbers(&["x"])),
            ("formats", numbers(&["<f8"])),
            ("offsets", numbers(&[0])),
        ]),
    ];
    for value in texts
        .into_iter()
        .map(Value::from)
        .chain(structs)
        .chain([8.into(), Value::Null])
    {
        assert!(
            matches!(
                refusal(&with_key("dtype", Some(value.clone()))),
                HeaderError::Dtype { .. }
            ),
            "{value:?}"
        );
    }
    let swapped = |names| DType::from_value(&pair(names, &[0, 8])).unwrap();
    assert_ne!(swapped(&["x", "y"]), swapped(&["y", "x"]));
}

#[test]
fn a_shape_that_does_not_fit_its_strides_or_its_payload_is_refused() {
    let refused = |bytes: Vec<u8>| match refusal(&bytes) {
        HeaderError::Shape { reason } => reason,
        other => panic!("{other}"),
    };
    let big = 1u64 << 40;
    assert_eq!(
        refused(with_shape(numbers(&[big, big]), numbers(&[8, 8]))),
        "its size overflows"
    );
    assert_eq!(
        refused(with_shape(numbers(&[big, 0, big]), numbers(&[8, 8, 8]))),
        "its size overflows"
    );
    assert_eq!(
        refused(with_shape(numbers(&[0, i64::MAX]), numbers(&[8, 8]))),
        "its size overflows"
    );
    assert_eq!(
        refused(with_shape(numbers(&[1; 33]), numbers(&[8; 33]))),
        "more than 32 dimensions"
    );
    assert_eq!(
        refused(with_shape(numbers(&[2, 3]), numbers(&[8]))),
        "shape and strides differ in length"
    );
    let neither = "strides of neither C nor F order";
    for strides in [
        [8, 8],
        [24, 16],
        [0, 8],
        [24, 0],
        [48, 8],
        [i64::MAX, 8],
        [24, i64::MAX],
        [12, 4],
        [3, 1],
    ] {
        assert_eq!(
            refused(with_key("strides", Some(numbers(&strides)))),
            neither,
            "{strides:?}"
        );
    }
    let wrong_len = "it does not make data_len bytes";
    assert_eq!(
        refused(with_shape(numbers(&[2, 4]), numbers(&[32, 8]))),
        wrong_len
    );
    assert_eq!(
        refused(with_shape(numbers::<u64>(&[]), numbers::<u64>(&[]))),
        wrong_len
    );
    assert_eq!(
        refused(with_shape(numbers(&[0, 6]), numbers(&[48, 8]))),
        wrong_len
    );
    assert_eq!(
        refused(assemble(&plain_map(), &plain().prefix(40), 40)),
        wrong_len
    );
}

#[test]
fn a_prefix_that_tells_another_story_than_the_header_is_refused() {
    let map = plain_map();
    let key = &PAYLOAD_KEY[..];
    let others = [
        header(f64::DTYPE, &[3, 2], Order::C).prefix(48),
        header(f64::DTYPE, &[2, 3], Order::F).prefix(48),
        header(f64::DTYPE, &[6], Order::C).prefix(48),
        header(i64::DTYPE, &[2, 3], Order::C).prefix(48),
        header(i128::DTYPE, &[3], Order::C).prefix(48),
        plain().prefix(49),
        [key, &[0xd8, 40, 0x82, 0x82, 2, 3, 0x58, 48]].concat(),
        [key, &[0xd8, 40, 0x82, 0x82, 2, 3, 0xd8, 86, 0x59, 0, 48]].concat(),
        [b"\x67Payload", &plain().prefix(48)[8..]].concat(),
        key.to_vec(),
        Vec::new(),
    ];
    for prefix in others {
        assert_eq!(
            refusal(&assemble(&map, &prefix, 48)),
            HeaderError::Prefix,
            "{prefix:02x?}"
        );
    }
    assert_eq!(
        refusal(&assemble(&map, &[0; MAX_PREFIX + 1], 48)),
        HeaderError::Padding,
        "longer than any prefix"
    );
}
