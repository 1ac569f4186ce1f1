//! safetensors files: tensors with keys behind a header of JSON.

use super::*;
use ndshm::Error;

#[test]
fn every_type_of_the_format_comes_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let texts = [
        "|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "bfloat16", "<f4",
        "<f8", "<c8", "(3,)<f4",
    ];
    let arrays: Vec<_> = texts
        .iter()
        .flat_map(|text| shapes().map(|shape| sample(&manager, &text.parse().unwrap(), shape)))
        .collect();
    let keyed: Vec<_> = arrays
        .iter()
        .enumerate()
        .map(|(number, array)| (format!("x \"{number}\""), array as &dyn Exportable))
        .collect();
    let path = scratch.path().join("x");
    Export::new().safetensors(&keyed, &path).unwrap();
    let read = Import::new().safetensors(&manager, &path).unwrap().arrays;
    assert_eq!(read.len(), keyed.len());
    for ((key, _), array) in keyed.iter().zip(&arrays) {
        let (_, found) = read.iter().find(|(found, _)| found == key).unwrap();
        assert_eq!(contents(array), contents(found));
    }
    for text in ["|V5", "<c16", "uint128"] {
        let array = sample(&manager, &text.parse().unwrap(), &[3]);
        let error = Export::new()
            .safetensors(&[("x", &array)], scratch.path().join("y"))
            .unwrap_err();
        assert!(matches!(error, Error::Transfer { .. }));
    }
    let view = manager
        .from_shape_fn::<u8, _>((3, 4).f(), |(i, j)| (4 * i + j) as u8)
        .unwrap();
    Export::new()
        .safetensors(&[("x", &view)], scratch.path().join("f"))
        .unwrap();
    assert_eq!(
        Import::new()
            .safetensors(&manager, scratch.path().join("f"))
            .unwrap()
            .arrays[0]
            .1
            .read_bytes()
            .unwrap(),
        (0..12).collect::<Vec<u8>>()
    );
}

#[test]
fn hostile_headers_make_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let file = |json: &str, data: usize| {
        [
            &(json.len() as u64).to_le_bytes()[..],
            json.as_bytes(),
            &vec![7; data],
        ]
        .concat()
    };
    let tensor = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let good = file(
        &format!(
            r#"{{"__metadata__":{{"a":"b"}},"x":{}}}  "#,
            tensor("U8", "[3]", 0, 3)
        ),
        3,
    );
    fs::write(&path, &good).unwrap();
    assert_eq!(
        Import::new().safetensors(&manager, &path).unwrap().arrays[0]
            .1
            .read_bytes()
            .unwrap(),
        [7; 3]
    );
    let one = |tensor: String| format!(r#"{{"x":{tensor}}}"#);
    let cases = [
        (u64::MAX.to_le_bytes().to_vec(), "longer than the file"),
        (
            200_000_000u64.to_le_bytes().to_vec(),
            "longer than the file",
        ),
        (vec![1; 5], "ends too early"),
        (file("[]", 0), "brace"),
        (file("{", 0), "EOF"),
        (file(&one(tensor("U8", "[3]", 0, 3)), 4), "the file has 4"),
        (file(&one(tensor("U8", "[3]", 0, 3)), 2), "the file has 2"),
        (file(&one(tensor("U8", "[3]", 1, 4)), 4), "match neither"),
        (file(&one(tensor("U8", "[3]", 0, 4)), 4), "match neither"),
        (file(&one(tensor("U8", "[3]", 3, 0)), 3), "match neither"),
        (
            file(
                &one(tensor(
                    "U8",
                    "[18446744073709551615,18446744073709551615]",
                    0,
                    1,
                )),
                1,
            ),
            "match neither",
        ),
        (file(&one(tensor("U8", "[-1]", 0, 1)), 1), "header"),
        (file(&one(tensor("F8_E4M3", "[1]", 0, 1)), 1), "F8_E4M3"),
        (
            file(
                &one(tensor("U8", &format!("[{}1]", "1,".repeat(32)), 0, 1)),
                1,
            ),
            "33 axes",
        ),
        (
            file(
                &format!(r#"{{"x":{0},"x":{0}}}"#, tensor("U8", "[1]", 0, 1)),
                1,
            ),
            "duplicate key",
        ),
        (
            file(
                &format!(r#"{{"x":{0},"y":{0}}}"#, tensor("U8", "[1]", 0, 1)),
                1,
            ),
            "match neither",
        ),
        (
            file(r#"{"x":{"dtype":"U8","shape":[1]}}"#, 1),
            "data_offsets",
        ),
    ];
    for (bytes, expected) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = Import::new().safetensors(&manager, &path).unwrap_err();
        assert!(
            matches!(error, Error::Transfer { .. }) && error.to_string().contains(expected),
            "{error}"
        );
    }
    assert_eq!(manager.list().unwrap().len(), 0);
}
