//! Header maps that are not deterministic CBOR, or lack required keys. All of them have the right
//! checksum.

use super::*;
use ciborium::Value;

const CBOR: &str = "Header::Cbor";
const DETERMINISTIC: &str = "the header is not deterministic CBOR";

pub(crate) fn try_all(fixture: &mut Fixture) {
    items(fixture);
    maps(fixture);
    keys(fixture);
}

fn items(fixture: &mut Fixture) {
    let forge = fixture.forge();
    // As the value of an unknown key, which is ignored if its value is well encoded.
    let with_item = |item: &[u8]| {
        Forge {
            map: [&[forge.map[0] + 1, 0x61, b'.'], item, &forge.map[1..]].concat(),
            ..forge.clone()
        }
        .file()
    };
    fixture.put(&with_item(&[0x01]));
    fixture.manager.array::<f64, IxDyn>("x").unwrap();
    let nested = |head: &[u8]| [head.repeat(60_000 / head.len()), vec![0x01]].concat();
    let rows: [(&str, &[u8]); 30] = [
        ("an integer that is not the shortest", &[0x18, 0x01]),
        (
            "an integer of eight bytes that fits in one",
            &[0x1b, 0, 0, 0, 0, 0, 0, 0, 0xff],
        ),
        ("a length that is not the shortest", &[0x78, 0x01, b'a']),
        (
            "a float that is not the shortest",
            &[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        ),
        ("indefinite text", &[0x7f, 0x61, b'a', 0xff]),
        ("indefinite bytes", &[0x5f, 0x41, b'a', 0xff]),
        ("an indefinite array", &[0x9f, 0x01, 0xff]),
        ("an indefinite map", &[0xbf, 0x61, b'a', 0x01, 0xff]),
        ("an array of 2^60", &[0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        ("a map of 2^60", &[0xbb, 0x10, 0, 0, 0, 0, 0, 0, 0]),
        (
            "an array of 2^64-1",
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "bytes of 2^64-1",
            &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "text of 2^64-1",
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("60,000 nested arrays", &nested(&[0x81])),
        ("60,000 nested tags", &nested(&[0xc6])),
        ("30,000 nested maps", &nested(&[0xa1, 0x00])),
        ("60,000 nested keys", &nested(&[0xa1])),
        (
            "30,000 nested indefinite arrays",
            &[[0x9f].repeat(30_000), [0xff].repeat(30_000)].concat(),
        ),
        ("bad UTF-8", &[0x61, 0xff]),
        ("a surrogate in UTF-8", &[0x63, 0xed, 0xa0, 0x80]),
        ("UTF-8 that is cut", &[0x61, 0xc3]),
        ("reserved 0x1c", &[0x1c]),
        ("reserved 0xfe", &[0xfe]),
        ("a bare break", &[0xff]),
        ("undefined", &[0xf7]),
        ("an unassigned simple value", &[0xe0]),
        ("a bignum that fits in an integer", &[0xc2, 0x41, 0x01]),
        (
            "a duplicate key below",
            &[0xa2, 0x61, b'a', 1, 0x61, b'a', 2],
        ),
        ("unsorted keys below", &[0xa2, 0x61, b'b', 1, 0x61, b'a', 2]),
        ("a tag without an item", &[0xc6]),
    ];
    for (what, item) in rows {
        fixture.refuse(what, &with_item(item), CBOR, DETERMINISTIC);
    }
}

fn maps(fixture: &mut Fixture) {
    let forge = fixture.forge();
    let map = forge.map.clone();
    let (count, entries) = (map[0], &map[1..]);
    // The first entry is that of "id": the key, a tag, 16 bytes.
    let id = &entries[..22];
    assert_eq!((&id[..6], entries[22]), (&b"\x62id\xd8\x25\x50"[..], 0x65));
    let rows: [(&str, Vec<u8>, &str); 12] = [
        (
            "a duplicate key",
            [&[count + 1], id, entries].concat(),
            "duplicate key",
        ),
        (
            "a duplicate key with another value",
            [&[count + 1], id, b"\x62id\x01", &entries[22..]].concat(),
            "duplicate key",
        ),
        (
            "an unknown key twice",
            [&[count + 2], &b"\x61.\x01\x61.\x01"[..], entries].concat(),
            "duplicate key",
        ),
        (
            "unsorted keys",
            [&[count + 1], entries, b"\x61.\x01"].concat(),
            DETERMINISTIC,
        ),
        (
            "a number as a key",
            [&[count + 1, 1, 1], entries].concat(),
            "not a map with texts as keys",
        ),
        (
            "null as a key",
            [&[count + 1], entries, &[0xf6, 1]].concat(),
            "not a map with texts as keys",
        ),
        (
            "bytes behind the map",
            [&map[..], &[0]].concat(),
            DETERMINISTIC,
        ),
        ("a second map behind the map", map.repeat(2), DETERMINISTIC),
        (
            "a map that is cut",
            map[..map.len() - 1].to_vec(),
            DETERMINISTIC,
        ),
        (
            "a head of the map that is not the shortest",
            [&[0xb8, count & 0x1f], entries].concat(),
            DETERMINISTIC,
        ),
        (
            "an array",
            [&[0x80 + 2 * (count & 0x1f)], entries].concat(),
            "not a map with texts as keys",
        ),
        (
            "a tagged map",
            [&[0xc6], &map[..]].concat(),
            "not a map with texts as keys",
        ),
    ];
    for (what, map, piece) in rows {
        fixture.refuse(
            what,
            &Forge {
                map,
                ..forge.clone()
            }
            .file(),
            CBOR,
            piece,
        );
    }
    let attrs = |len: usize| Some(Value::Map(vec![("x".into(), Value::Bytes(vec![7; len]))]));
    let rest = 65_536 - 2183 - forge.with(&[("attrs", attrs(60_000))]).map.len() + 60_000;
    fixture.put(&forge.with(&[("attrs", attrs(rest))]).file());
    fixture.manager.array::<f64, IxDyn>("x").unwrap();
    fixture.refuse(
        "a header of 64 KiB and one byte",
        &forge.with(&[("attrs", attrs(rest + 1))]).file(),
        "Header::Bounds",
        "header_end = 65537",
    );
    fixture.refuse(
        "a header of 1 MiB",
        &forge.with(&[("attrs", attrs(1 << 20))]).file(),
        "Header::Bounds",
        "header_end = 10",
    );
}

fn keys(fixture: &mut Fixture) {
    let forge = fixture.forge();
    fixture.put(&forge.with(&[("later", Some(1.into()))]).file());
    fixture.manager.array::<f64, IxDyn>("x").unwrap();
    let bytes = |len| Value::Bytes(vec![1; len]);
    let tagged = |tag, inner| Some(Value::Tag(tag, Box::new(inner)));
    let list = |items: &[Value]| Some(Value::Array(items.to_vec()));
    let created = forge
        .value()
        .into_map()
        .unwrap()
        .into_iter()
        .find(|(key, _)| key.as_text() == Some("created"))
        .unwrap()
        .1
        .into_map()
        .unwrap();
    let created_without = |key: &str| {
        Some(Value::Map(
            created
                .iter()
                .filter(|(name, _)| name.as_text() != Some(key))
                .cloned()
                .collect(),
        ))
    };
    let created_with = |key: Value, value: Value| {
        let mut entries = created.clone();
        entries.retain(|(name, _)| *name != key);
        Some(Value::Map([entries, vec![(key, value)]].concat()))
    };
    let rows: [(&'static str, Option<Value>); 38] = [
        ("id", None),
        ("dtype", None),
        ("shape", None),
        ("strides", None),
        ("created", None),
        ("id", Some("1d".into())),
        ("id", Some(bytes(16))),
        ("id", tagged(37, bytes(15))),
        ("id", tagged(37, bytes(17))),
        ("id", tagged(38, bytes(16))),
        ("id", tagged(37, "0123456789abcdef".into())),
        ("shape", Some(6.into())),
        ("shape", list(&[2.0.into(), 3.0.into()])),
        ("shape", list(&[(-2).into(), (-3).into()])),
        ("shape", list(&["2".into(), "3".into()])),
        (
            "shape",
            list(&[Value::Tag(2, Box::new(bytes(9))), 0.into()]),
        ),
        ("shape", list(&[0.into(), u64::MAX.into()])),
        ("shape", list(&[0.into(), (1u64 << 63).into()])),
        ("strides", Some(Value::Null)),
        ("strides", list(&[(-24).into(), (-8).into()])),
        ("strides", list(&[i64::MIN.into(), 8.into()])),
        ("dims", Some("row".into())),
        ("dims", list(&["row".into()])),
        ("dims", list(&["a".into(), "b".into(), "c".into()])),
        ("dims", list(&[1.into(), 2.into()])),
        ("attrs", list(&[])),
        ("attrs", Some(Value::Map(vec![(1.into(), 1.into())]))),
        ("crit", Some("crit".into())),
        ("crit", list(&[])),
        ("crit", list(&[1.into()])),
        ("created", Some(1.into())),
        ("created", created_without("ns")),
        ("created", created_without("boot")),
        ("created", created_without("store")),
        ("created", created_with("ns".into(), (-1).into())),
        ("created", created_with("pid".into(), (1u64 << 40).into())),
        ("created", created_with("store".into(), "0".into())),
        ("created", created_with(1.into(), 1.into())),
    ];
    for (key, value) in rows {
        let what = format!("{key} as {value:?}");
        fixture.refuse(
            &what,
            &forge.with(&[(key, value)]).file(),
            "Header::Key",
            &format!("key {key:?} is missing or has the wrong type"),
        );
    }
    let unknown = forge
        .with(&[("crit", list(&["compression".into(), "dims".into()]))])
        .file();
    fixture.refuse(
        "a critical key that is not known",
        &unknown,
        "Header::Critical",
        "the file needs \"compression\"",
    );
    let foreign = forge
        .with(&[(
            "created",
            created_with("store".into(), Value::Tag(37, Box::new(bytes(16)))),
        )])
        .file();
    fixture.refuse_file(
        "another store's",
        &foreign,
        "Header::ForeignStore",
        "belongs to another store",
        Seen::OnOpening,
    );
}
