//! Element types that are none, and those that are another than the one asked for.

use super::*;
use ciborium::Value;

pub(crate) fn try_all(fixture: &mut Fixture) {
    refused_types(fixture);
    other_types(fixture);
}

fn text_map(entries: &[(&str, Value)]) -> Value {
    Value::Map(
        entries
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

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

fn nested(depth: usize) -> Value {
    (0..depth).fold("<f8".into(), |inner, _| {
        structure(&["x"], &[inner], &[0], 8)
    })
}

fn refused_types(fixture: &mut Fixture) {
    let forge = fixture.forge();
    let many = format!("({}1)<f8", "1,".repeat(32));
    let texts = [
        "|O",
        "<f3",
        "=f8",
        "f8",
        "<f16",
        ">f8",
        "<F8",
        "<f8 ",
        "",
        "|V0",
        "|V01",
        "|V1048577",
        "|V1099511627776",
        "|V99999999999999999999",
        "(3)<f4",
        "()<f4",
        "(0,)<f8",
        "(1048576,2)<f4",
        "(9223372036854775807,9223372036854775807)<f8",
        "(4294967296,4294967296)<f8",
        &many,
    ];
    for text in texts {
        let bytes = forge.with(&[("dtype", Some(text.into()))]).file();
        let piece = if text.starts_with("(1048576") {
            "is larger than 1048576 bytes"
        } else {
            "the element type is invalid"
        };
        fixture.refuse(&format!("type {text:?}"), &bytes, "Header::Dtype", piece);
    }
    let pair = |names: &[&str], offsets: &[u64]| {
        structure(names, &["<f8".into(), "<f8".into()], offsets, 16)
    };
    let rows: [(&str, Value, &str); 19] = [
        (
            "itemsize 0",
            structure(&["x"], &["<f8".into()], &[0], 0),
            "itemsize 0 is not within",
        ),
        (
            "itemsize 2^40",
            structure(&["x"], &["<f8".into()], &[0], 1 << 40),
            "itemsize 1099511627776 is not within",
        ),
        (
            "itemsize 2^64-1",
            structure(&["x"], &["<f8".into()], &[0], u64::MAX),
            "is not within",
        ),
        (
            "a pointer in a struct",
            structure(&["x"], &["|O".into()], &[0], 8),
            "is no element type",
        ),
        (
            "a field past itemsize",
            pair(&["x", "y"], &[0, 9]),
            "reaches past itemsize",
        ),
        (
            "a field whose end wraps",
            pair(&["x", "y"], &[0, u64::MAX]),
            "reaches past itemsize",
        ),
        (
            "overlapping fields",
            pair(&["x", "y"], &[0, 4]),
            "fields overlap",
        ),
        (
            "fields in one place",
            pair(&["x", "y"], &[8, 8]),
            "fields overlap",
        ),
        (
            "one name for two fields",
            pair(&["x", "x"], &[0, 8]),
            "two fields have the same name",
        ),
        ("an empty name", pair(&["x", ""], &[0, 8]), "name is empty"),
        ("fewer names", pair(&["x"], &[0, 8]), "lists of one length"),
        (
            "fewer offsets",
            pair(&["x", "y"], &[0]),
            "lists of one length",
        ),
        (
            "no fields",
            structure(&[], &[], &[], 8),
            "lists of one length",
        ),
        (
            "a number as a type",
            structure(&["x"], &[1.into()], &[0], 8),
            "neither a text nor a map",
        ),
        ("nesting of 9", nested(9), "nested deeper than 8"),
        (
            "no itemsize",
            text_map(&[
                ("names", Value::Array(vec![])),
                ("formats", Value::Array(vec![])),
                ("offsets", Value::Array(vec![])),
            ]),
            "itemsize",
        ),
        ("null", Value::Null, "neither a text nor a map"),
        ("a number", 8.into(), "neither a text nor a map"),
        (
            "a list",
            Value::Array(vec!["<f8".into()]),
            "neither a text nor a map",
        ),
    ];
    for (what, value, piece) in rows {
        fixture.refuse(
            what,
            &forge.with(&[("dtype", Some(value))]).file(),
            "Header::Dtype",
            piece,
        );
    }
    let deep = (0..12).fold("<f8".into(), |inner, _| {
        structure(&["x"], &[inner], &[0], 8)
    });
    fixture.refuse(
        "nesting that no decoder follows",
        &forge.with(&[("dtype", Some(deep))]).file(),
        "Header::Cbor",
        "not deterministic CBOR",
    );
}

/// Valid files of another type than the one that is asked for.
fn other_types(fixture: &mut Fixture) {
    let forge = fixture.forge();
    let plain = |bytes: &[u8]| [&b"\x67payload"[..], bytes].concat();
    let shaped = |tag: u8| plain(&[0xd8, 40, 0x82, 0x82, 2, 3, 0xd8, tag, 0x58, 48]);
    let fields = |names: &[&str]| structure(names, &["<f4".into(), "<f4".into()], &[0, 4], 8);
    let rows: [(&str, Value, Vec<u8>, &str); 6] = [
        (
            "i64 opened as f64",
            "<i8".into(),
            shaped(79),
            "element type is <i8, expected <f8",
        ),
        (
            "u64 opened as f64",
            "<u8".into(),
            shaped(71),
            "element type is <u8, expected <f8",
        ),
        (
            "complex opened as f64",
            "<c8".into(),
            plain(&[0x58, 48]),
            "element type is <c8, expected <f8",
        ),
        (
            "eight bytes opened as f64",
            "|V8".into(),
            plain(&[0x58, 48]),
            "element type is |V8, expected <f8",
        ),
        (
            "a subarray opened as f64",
            "(2,)<f4".into(),
            plain(&[0x58, 48]),
            "element type is (2,)<f4, expected <f8",
        ),
        (
            "a struct opened as f64",
            fields(&["re", "im"]),
            plain(&[0x58, 48]),
            "element type is {'names': ['re', 'im'], 'formats': ['<f4', '<f4'], 'offsets': [0, \
             4], 'itemsize': 8}, expected <f8",
        ),
    ];
    for (what, dtype, prefix, piece) in rows {
        let bytes = Forge {
            prefix,
            ..forge.with(&[("dtype", Some(dtype))])
        }
        .file();
        fixture.refuse_file(what, &bytes, "Dtype", piece, Seen::OnOpening);
    }
    // One struct and the other with its names swapped are two types: they differ as values, and in
    // their handles.
    let info = |names: &[&str]| {
        let bytes = Forge {
            prefix: plain(&[0x58, 48]),
            ..forge.with(&[("dtype", Some(fields(names)))])
        }
        .file();
        fixture.put(&bytes);
        fixture.handle.info().unwrap().dtype
    };
    assert_ne!(info(&["re", "im"]), info(&["im", "re"]));
    assert_eq!(info(&["re", "im"]), info(&["re", "im"]));
    fixture.close_row("swapped names");
    drop(fixture.restore());
}
