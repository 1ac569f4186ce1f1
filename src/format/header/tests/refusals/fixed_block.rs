//! Damage in the fixed block, in the padding and in the encoding of the map.

use super::*;

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
