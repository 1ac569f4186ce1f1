//! Keys of the map, types, shapes and prefixes that are missing, or of another kind.

use super::*;

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
