//! NumPy's types by their names, and their stored types.

use super::*;

fn parsed(text: &str) -> NumpyDType {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn stored(text: &str) -> String {
    parsed(text).stored().unwrap().to_string()
}

#[test]
fn every_name_of_a_type_has_one_stored_type_and_reads_back() {
    for (names, stored_as) in [
        (
            &["<f8", "f8", "=f8", "|f8", "d", "float64", "<d", "double"][..],
            "<f8",
        ),
        (&["?", "b1", "|b1", "<b1", "bool"], "|b1"),
        (&["i", "<i4", "int32", "intc"], "<i4"),
        (&["B", "u1", "<u1", "uint8"], "|u1"),
        (&["c16", "D", "complex128"], "<c16"),
        (&["V8", "|V8", "<V8"], "|V8"),
        (&["<U10", "U10", "=U10"], "(10,)<u4"),
        (&["U1"], "(1,)<u4"),
        (&["|S4", "S4", "a4", "<S4"], "|V4"),
        (&["M8[ns]", "<M8[ns]", "datetime64[ns]"], "<i8"),
        (&["m8", "<m8[25s]", "<m8[D/2]", "timedelta64[us]"], "<i8"),
        (&["g", "f16", "<f16", "longdouble"], "|V16"),
        (&["G", "<c32"], "|V32"),
        (&["<f12"], "|V12"),
        (&["bfloat16"], "bfloat16"),
    ] {
        for name in names {
            let dtype = parsed(name);
            assert_eq!(stored(name), stored_as, "{name}");
            assert_eq!(parsed(&dtype.to_string()), dtype, "{name}");
        }
    }
}

#[test]
fn fields_are_stored_as_their_types_are_and_as_bytes_where_the_format_has_no_such_struct() {
    let text = "{'names': ['t', 's', 'u'], 'formats': ['<M8[ns]', '|S3', ('<U2', (2, 3))], \
                'offsets': [0, 8, 16], 'itemsize': 72}";
    assert_eq!(
        stored(text),
        "{'names': ['t', 's', 'u'], 'formats': ['<i8', '|V3', '(2,3,2)<u4'], 'offsets': [0, 8, \
         16], 'itemsize': 72}"
    );
    assert_eq!(parsed(text).attribute().as_deref(), Some(text));
    // An array of structs, fields of no bytes, no fields, a nameless field.
    for (text, stored_as) in [
        (
            "[('a', [('b', '<i4')], (2,)), ('c', '<f8')]",
            "{'names': ['a', 'c'], 'formats': ['|V8', '<f8'], 'offsets': [0, 8], 'itemsize': 16}",
        ),
        (
            "[('a', '|S0'), ('b', '<i4'), ('c', '<f8', (0,))]",
            "{'names': ['b'], 'formats': ['<i4'], 'offsets': [0], 'itemsize': 4}",
        ),
        ("[('', '|V8')]", "|V8"),
        ("[('', '<f8')]", "|V8"),
        (
            "[('a', '|u1', (4,)), ('b', '|u1', (2, 3))]",
            "{'names': ['a', 'b'], 'formats': ['|V4', '(2,)|V3'], 'offsets': [0, 4], 'itemsize': \
             10}",
        ),
    ] {
        let dtype = parsed(text);
        assert_eq!(stored(text), stored_as, "{text}");
        let attribute = dtype.attribute().unwrap();
        assert_eq!(parsed(&attribute), dtype, "{attribute}");
        assert_eq!(dtype.descr().unwrap(), parsed(&attribute).descr().unwrap());
    }
    assert_eq!(
        parsed("[('a', '<f8'), ('b', '(2,3)<i2')]").attribute(),
        None
    );
    let deep = (0..12).fold("'<i2'".to_owned(), |inner, _| format!("[('x', {inner})]"));
    assert!(stored(&deep).contains("|V2") && parsed(&deep).attribute().is_some());
    for empty in ["|S0", "<U0", "|V0", "[]"] {
        assert_eq!(parsed(empty).stored(), None, "{empty}");
    }
    assert_eq!(parsed("|V2000000").stored(), None);
}

/// Python's package believed the attribute: `V40000`, or `O`, over 8-byte elements read outside of
/// the array.
#[test]
fn a_claim_is_believed_only_where_the_elements_are_stored_so() {
    let believed = |claim: &str, whole: &str| {
        let attrs = Value::Map(vec![(ATTRIBUTE.into(), claim.into())]);
        NumpyDType::believed(Some(&attrs), &whole.parse().unwrap()).is_some()
    };
    for (claim, whole) in [
        ("<M8[ns]", "<i8"),
        ("<m8", "<i8"),
        ("<U2", "(2,)<u4"),
        ("<U2", "|V8"),
        ("|S8", "|V8"),
        ("<f16", "|V16"),
        ("[('t', '<M8[s]')]", "|V8"),
        ("<f8", "<f8"),
    ] {
        assert!(believed(claim, whole), "{claim} {whole}");
    }
    for (claim, whole) in [
        ("V40000", "<i8"),
        ("|V4", "<i8"),
        ("O", "<i8"),
        ("|O", "|V8"),
        ("|O8", "|V8"),
        ("object", "|V8"),
        ("T", "|V16"),
        ("[('a', 'O')]", "|V8"),
        ("[('a', '<i4'), ('b', [('c', 'O')])]", "|V12"),
        ("(2,)<i4", "<i8"),
        ("(1,)<i8", "<i8"),
        ("(8,)|u1", "|V8"),
        ("<U2", "<i8"),
        ("<M8[ns]", "<f8"),
        (">M8[ns]", "<i8"),
        ("[('a', '>i8')]", "|V8"),
        ("<f8", "<i8"),
        ("|S0", "|u1"),
        (
            "{'names': ['a'], 'formats': ['<i8'], 'offsets': [4], 'itemsize': 8}",
            "|V8",
        ),
        (
            "{'names': ['a'], 'formats': ['<i4'], 'offsets': [0], 'itemsize': 80}",
            "|V8",
        ),
        (
            "{'names': ['a'], 'formats': ['<i4'], 'offsets': [4294967296], 'itemsize': 8}",
            "|V8",
        ),
        ("__import__('os')", "<i8"),
        ("", "<i8"),
    ] {
        assert!(!believed(claim, whole), "{claim} {whole}");
    }
    let number = Value::Map(vec![(ATTRIBUTE.into(), 5.into())]);
    assert_eq!(NumpyDType::claimed(Some(&number)), None);
    assert_eq!(NumpyDType::claimed(None), None);
}

#[test]
fn a_part_of_a_struct_has_the_type_of_its_field() {
    let dtype =
        parsed("[('n', '<i8'), ('t', '<m8[s]'), ('in', [('u', '<U2', (3,)), ('s', '|S3')])]");
    let part = |stored: &str, offset| {
        let found = dtype.part_at(&stored.parse().unwrap(), offset);
        found.map(ToString::to_string)
    };
    assert_eq!(part("<i8", 0).as_deref(), Some("<i8"));
    assert_eq!(part("<i8", 8).as_deref(), Some("<m8[s]"));
    assert_eq!(part("(2,)<u4", 16).as_deref(), Some("<U2"));
    assert_eq!(part("(2,)<u4", 32).as_deref(), Some("<U2"));
    assert_eq!(part("(2,)<u4", 20), None);
    assert_eq!(part("(3,2)<u4", 16), None);
    assert_eq!(part("<u4", 16), None);
    assert_eq!(part("|V3", 40).as_deref(), Some("|S3"));
    assert_eq!(part("|V3", 43), None);
}
