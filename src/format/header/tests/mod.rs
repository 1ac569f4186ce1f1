//! Headers encoded and parsed again, for all types, orders, ranks and lengths. In memory, without
//! files.

mod kinds;
mod refusals;

use super::*;
use crate::{Element, element::dtype::DType, layout};

const STATE: [u8; STATE_LEN] = [0xa5; STATE_LEN];

fn header(dtype: DType, shape: &[usize], order: Order) -> Header {
    let created = Created {
        ns: 1_700_000_000_000_000_000,
        software: "ndshm 0.1.0".into(),
        pid: 4242,
        boot: Uuid::from_bytes([0xb0; 16]),
        store: Uuid::from_bytes([0x50; 16]),
    };
    Header {
        id: ArrayId::from_bytes([0x1d; 16]),
        spec: ArraySpec::new(dtype, shape, order).unwrap(),
        kind: Kind::Array,
        axis_names: Vec::new(),
        attrs: None,
        created,
    }
}

/// The header that the refusal tests change.
fn plain() -> Header {
    header(f64::DTYPE, &[2, 3], Order::C)
}

fn dtype(text: &str) -> DType {
    text.parse().unwrap()
}

fn text_map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

/// The entry of a struct type with these fields.
fn structure(names: &[&str], formats: &[Value], offsets: &[u64], itemsize: u64) -> Value {
    text_map(&[
        (
            "names",
            Value::Array(names.iter().map(|&name| name.into()).collect()),
        ),
        ("formats", Value::Array(formats.to_vec())),
        (
            "offsets",
            Value::Array(offsets.iter().map(|&offset| offset.into()).collect()),
        ),
        ("itemsize", itemsize.into()),
    ])
}

/// A struct type in a struct type, `depth` deep.
fn nested_structs(depth: usize) -> Value {
    (0..depth).fold("<f8".into(), |inner, _| {
        structure(&["x"], &[inner], &[0], 8)
    })
}

/// A whole file with a payload of zeros.
fn file(header: &Header, align: usize) -> Vec<u8> {
    let mut bytes = header.encode(align, &STATE).unwrap();
    bytes.resize(bytes.len() + header.spec.byte_len(), 0);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    Header::parse(bytes, bytes.len() as u64)
}

fn plain_map() -> Vec<u8> {
    cbor::encode(&plain().to_value())
}

#[test]
fn a_header_parses_back_to_itself() {
    let scalars = [
        "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "uint128", "int128", "<f2",
        "bfloat16", "<f4", "<f8", "<c8", "<c16",
    ];
    let mut dtypes: Vec<_> = scalars
        .into_iter()
        .chain(["|V1", "|V1048576", "(3,)<f4", "(3,2)<f4", "(2,)|V5"])
        .map(dtype)
        .collect();
    dtypes.push(
        DType::from_value(&structure(
            &["x", "n"],
            &["<f8".into(), "(2,)<i4".into()],
            &[0, 8],
            24,
        ))
        .unwrap(),
    );
    dtypes.push(DType::from_value(&nested_structs(8)).unwrap());
    let shapes: [&[usize]; 14] = [
        &[],
        &[1],
        &[7],
        &[0],
        &[2, 3],
        &[5, 1],
        &[1, 5],
        &[2, 3, 4],
        &[2, 0, 3],
        &[2, 3, 4, 5],
        &[0, 3, 0, 5],
        &[1 << 40],
        &[1; 32],
        &[2; 32],
    ];
    for (dtype, shape, order) in dtypes.iter().flat_map(|d| {
        shapes
            .iter()
            .flat_map(move |s| [(d, *s, Order::C), (d, *s, Order::F)])
    }) {
        if layout::byte_len(shape, dtype.itemsize()).is_none_or(|len| len > 1 << 60) {
            continue;
        }
        let mut header = header(dtype.clone(), shape, order);
        let bytes = header.encode(MIN_ALIGN, &STATE).unwrap();
        let data_len = layout::byte_len(shape, dtype.itemsize()).unwrap();
        let parsed = Header::parse(&bytes[..], (bytes.len() + data_len) as u64);
        let strides = |order| layout::contiguous_strides(shape, order, dtype.itemsize());
        if strides(Order::C) == strides(Order::F) {
            // The file says nothing but its strides.
            header.spec = header.spec.with_order(Order::C);
        }
        assert_eq!(
            parsed,
            Ok(Parsed {
                header,
                data_offset: bytes.len(),
                data_len
            }),
            "{dtype} {shape:?} {order:?}"
        );
    }
}

#[test]
fn axis_names_and_attributes_come_back_and_the_state_block_stands_in_its_place() {
    let attrs = text_map(&[
        ("unit", "µm".into()),
        ("nothing", Value::Null),
        ("bytes", Value::Bytes(vec![0; 300])),
        (
            "numbers",
            Value::Array(vec![
                (-1).into(),
                u64::MAX.into(),
                0.1.into(),
                f64::INFINITY.into(),
                (-0.0).into(),
            ]),
        ),
        (
            "nested",
            text_map(&[("yes", true.into()), ("", text_map(&[]))]),
        ),
        (
            "tagged",
            Value::Tag(0, Box::new("2026-01-01T00:00:00Z".into())),
        ),
    ]);
    for (axis_names, attrs) in [
        (vec![Some("row".into()), None], Some(attrs)),
        (vec![None, None], Some(text_map(&[]))),
        (vec![Some(String::new()), Some("x".repeat(1000))], None),
    ] {
        let mut header = Header {
            axis_names,
            attrs,
            ..plain()
        };
        let bytes = file(&header, MIN_ALIGN);
        assert_eq!(bytes[STATE_AT..HEADER_KEY_AT], STATE);
        // Keys come back in the order of their bytes.
        header.attrs = header
            .attrs
            .map(|attrs| cbor::decode(&cbor::encode(&attrs)).unwrap());
        assert_eq!(parse(&bytes).unwrap().header, header);
        assert_eq!(
            parse(&bytes)
                .unwrap()
                .header
                .encode(MIN_ALIGN, &STATE)
                .unwrap(),
            bytes[..bytes.len() - 48]
        );
    }
}

#[test]
fn the_head_has_its_pieces_where_the_format_says() {
    let bytes = file(&plain(), MIN_ALIGN);
    let map = plain_map();
    let header_end = 2183 + map.len();
    assert_eq!(
        bytes[..18],
        *b"\xd9\xd9\xf7\xa6\x64ndsh\x01\x65fixed\x58\x25"
    );
    assert_eq!(bytes[18..22], (header_end as u32).to_le_bytes());
    assert_eq!(
        bytes[26..42],
        [4096u64.to_le_bytes(), 48u64.to_le_bytes()].concat()
    );
    assert_eq!(
        bytes[42..64],
        *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\x65state\x59\x08\x40"
    );
    assert_eq!(bytes[2176..2183], *b"\x66header");
    assert_eq!(bytes[2183..header_end], map);
    assert_eq!(bytes[header_end..header_end + 9], *b"\x67padding\x59");
    let prefix = [
        &b"\x67payload"[..],
        &[0xd8, 40, 0x82, 0x82, 2, 3, 0xd8, 86, 0x58, 48],
    ]
    .concat();
    assert_eq!(bytes[4096 - prefix.len()..4096], prefix);
    let crc = crc32fast::hash(
        &[
            &bytes[..22],
            &[0; 4],
            &bytes[26..55],
            &bytes[2176..header_end],
            &prefix,
        ]
        .concat(),
    );
    assert_eq!(bytes[22..26], crc.to_le_bytes());
    let prefix = header(f64::DTYPE, &[2, 300], Order::F).prefix(4800);
    assert_eq!(
        prefix,
        [
            &b"\x67payload"[..],
            &[
                0xd9, 0x04, 0x10, 0x82, 0x82, 2, 0x19, 0x01, 0x2c, 0xd8, 86, 0x59, 0x12, 0xc0
            ]
        ]
        .concat()
    );
    assert_eq!(
        header(f64::DTYPE, &[0, 3], Order::F).prefix(0),
        b"\x67payload\xd8\x56\x40"
    );
    assert_eq!(
        header(i128::DTYPE, &[2], Order::C).prefix(32),
        b"\x67payload\x58\x20"
    );
}

/// Decodes a whole file with the CBOR library alone, encodes it again, and returns its map.
fn decode_whole(bytes: &[u8]) -> Vec<(Value, Value)> {
    let whole: Value = ciborium::from_reader(bytes).unwrap();
    let mut again = Vec::new();
    ciborium::into_writer(&whole, &mut again).unwrap();
    assert!(
        again == bytes,
        "the whole file is not encoded as the library encodes it"
    );
    match whole {
        Value::Tag(55799, map) => map.into_map().unwrap(),
        other => panic!("not self-described CBOR: {other:?}"),
    }
}

#[test]
fn the_whole_file_is_one_item_of_cbor() {
    let attrs = Some(text_map(&[("unit", "mm".into()), ("scale", 0.25.into())]));
    let mut payload = Vec::new();
    for header in [
        plain(),
        header(i128::DTYPE, &[5], Order::C),
        header(u8::DTYPE, &[3, 0], Order::F),
        Header { attrs, ..plain() },
    ] {
        let mut bytes = file(&header, MIN_ALIGN);
        let at = parse(&bytes).unwrap().data_offset;
        bytes[at..]
            .iter_mut()
            .zip(1..)
            .for_each(|(byte, n)| *byte = n);
        payload.clear();
        payload.extend(&bytes[at..]);
        let entries = decode_whole(&bytes);
        let keys: Vec<_> = entries
            .iter()
            .map(|(key, _)| key.as_text().unwrap())
            .collect();
        assert_eq!(
            keys,
            ["ndsh", "fixed", "state", "header", "padding", "payload"]
        );
        assert_eq!(
            (&entries[0].1, &entries[2].1),
            (&1.into(), &Value::Bytes(STATE.to_vec()))
        );
        assert_eq!(
            cbor::encode(&entries[3].1),
            cbor::encode(&header.to_value())
        );
        assert!(
            entries[4]
                .1
                .as_bytes()
                .unwrap()
                .iter()
                .all(|&byte| byte == 0)
        );
        let mut last = &entries[5].1;
        while let Value::Tag(_, inner) = last {
            last = inner.as_array().map_or(&**inner, |pair| &pair[1]);
        }
        assert_eq!(last.as_bytes(), Some(&payload));
    }
}

#[test]
fn padding_fills_every_gap_with_the_shortest_head_there_is() {
    for align in [4096, 16384, 65536] {
        for prefix_len in [9, 18, MAX_PREFIX] {
            for header_end in HEADER_AT + 1..=MAX_HEADER_END {
                let (head, data_offset) = padding(header_end, prefix_len, 0, align);
                let room = data_offset - prefix_len - header_end - head.len();
                assert!(
                    data_offset.is_multiple_of(align)
                        && head == [&PADDING_KEY[..], &cbor::head(2, room as u64)].concat()
                );
                assert_eq!(parse_padding(&head), Ok((head.len(), room)));
                // No head could have reached the page before.
                let before =
                    (data_offset - align).checked_sub(prefix_len + header_end + PADDING_KEY.len());
                let fits = |room: usize| {
                    (1..=5).any(|head_len| {
                        room >= head_len
                            && cbor::head(2, (room - head_len) as u64).len() == head_len
                    })
                };
                assert!(
                    !before.is_some_and(fits),
                    "{header_end} {prefix_len} {align}"
                );
            }
        }
    }
}

#[test]
fn headers_of_every_length_come_back() {
    let mut offsets = Vec::new();
    for attrs_len in (0..4300).chain(20_000..20_040).chain(62_900..63_150) {
        let attrs = Some(text_map(&[("x", Value::Bytes(vec![7; attrs_len]))]));
        let header = Header { attrs, ..plain() };
        for align in
            [MIN_ALIGN, 65536]
                .into_iter()
                .take(if attrs_len % 8 == 0 || attrs_len > 60_000 {
                    2
                } else {
                    1
                })
        {
            let bytes = file(&header, align);
            let parsed = parse(&bytes).unwrap();
            assert!(
                parsed.data_offset.is_multiple_of(align) && parsed.data_offset + 48 == bytes.len()
            );
            assert!(parsed.header == header, "{attrs_len} {align}");
            if attrs_len % 97 == 0 {
                decode_whole(&bytes);
            }
            offsets.push(parsed.data_offset);
        }
    }
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets, [4096, 8192, 24576, 65536, 69632, 131072]);
}

/// A file that another process writes meanwhile: bytes that are read a second time differ. Except
/// the key of the header, which is compared with the fixed block and summed with the map.
struct Changing {
    bytes: Vec<u8>,
    was_read: std::cell::RefCell<Vec<bool>>,
}

impl Source for Changing {
    fn read_at(&self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        self.bytes[..].read_at(at, buffer)?;
        let mut was_read = self.was_read.borrow_mut();
        for (at, byte) in (at..)
            .zip(buffer)
            .filter(|(at, _)| !(HEADER_KEY_AT..HEADER_AT).contains(at))
        {
            *byte = if was_read[at] { !*byte } else { *byte };
            was_read[at] = true;
        }
        Ok(())
    }
}

#[test]
fn what_was_checked_is_not_read_again() {
    // The payload starts after the compared padding. Otherwise the prefix is read together with the
    // padding.
    let bytes = file(&plain(), 16384);
    let source = Changing {
        was_read: vec![false; bytes.len()].into(),
        bytes,
    };
    let parsed = Header::parse(&source, source.bytes.len() as u64);
    assert!(
        parsed.is_ok() && parsed == parse(&source.bytes),
        "{parsed:?}"
    );
}
