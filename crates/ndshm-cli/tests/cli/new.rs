//! `new`.

use crate::fixture::Fixture;

#[test]
fn an_array_is_made_with_a_type_a_shape_a_value_and_attributes() {
    let fixture = Fixture::new();
    let path = fixture
        .output("new xs complex128 '(2, 3)' --fill -1+2j --attr unit=m --attr by=me --axes a,b");
    assert_eq!(
        path.trim(),
        fixture.run.path().join("xs.ndshm").to_str().unwrap()
    );
    let json = fixture.json("show xs");
    assert_eq!(
        (
            json["dtype"].as_str(),
            json["shape"].to_string(),
            json["axis_names"].to_string()
        ),
        (Some("<c16"), "[2,3]".into(), r#"["a","b"]"#.into())
    );
    assert_eq!(json["attributes"].to_string(), r#"{"by":"me","unit":"m"}"#);
    assert_eq!(json["scope"], "store");
}

#[test]
fn a_store_is_made_only_on_request() {
    let fixture = Fixture::new();
    assert!(
        fixture
            .failure("new later/xs u8 5")
            .0
            .contains("no such store")
    );
    fixture.ndshm("new later/xs u8 5 --create-store").success();
    fixture.ndshm("new later/ys u8 5x2").success();
    assert_eq!(
        fixture.json("ls later")["stores"][0]["arrays"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn an_invalid_type_shape_or_value_is_refused_and_leaves_no_array() {
    let fixture = Fixture::new();
    for (arguments, reason) in [
        ("new xs f65 3", "\"f65\" is no element type"),
        ("new xs f64 3,b", "\"3,b\" is no shape"),
        ("new xs u8 3 --fill 256", "\"256\" is no value of type |u1"),
        ("new xs '(2,)<f4' 3 --fill 1", "can be filled with 0 only"),
        ("new .xs u8 3", "starts with a dot"),
    ] {
        let (line, code) = fixture.failure(arguments);
        assert!(line.contains(reason) && code == 2, "{line}");
    }
    assert_eq!(fixture.run.list().unwrap().len(), 0);
    fixture.ndshm("new xs u8 3").success();
    assert_eq!(fixture.failure("new xs u8 3").1, 4);
    assert!(
        fixture
            .failure("new big u8 1000000000000000")
            .0
            .contains("no space")
    );
}

/// `ndshm new x f8 4` was refused: NumPy's users write f8, float64 and np.float64.
#[test]
fn every_spelling_of_numpy_names_a_type() {
    let fixture = Fixture::new();
    for (number, (spelling, expected)) in [
        ("f8", "<f8"),
        ("<f8", "<f8"),
        ("=f8", "<f8"),
        ("float64", "<f8"),
        ("np.float64", "<f8"),
        ("numpy.float64", "<f8"),
        ("double", "<f8"),
        ("f64", "<f8"),
        ("f4", "<f4"),
        ("f2", "<f2"),
        ("i4", "<i4"),
        ("np.int64", "<i8"),
        ("i1", "|i1"),
        ("<u1", "|u1"),
        ("u1", "|u1"),
        ("uint8", "|u1"),
        ("np.bool_", "|b1"),
        ("b1", "|b1"),
        ("?", "|b1"),
        ("c16", "<c16"),
        ("complex64", "<c8"),
        ("V5", "|V5"),
        ("(3,)f4", "(3,)<f4"),
        ("(3,)float32", "(3,)<f4"),
        ("(2,3)np.uint16", "(2,3)<u2"),
        ("bfloat16", "bfloat16"),
        // Rust's names, which mean something else in NumPy's letters.
        ("u8", "|u1"),
        ("i8", "|i1"),
        ("u64", "<u8"),
        ("<u8", "<u8"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("x{number}");
        fixture
            .ndshm(&format!("new {name} '{spelling}' 4"))
            .success();
        let array = fixture.run.array_any(&name).unwrap();
        assert_eq!(array.dtype().to_string(), expected, "{spelling}");
    }
    let raw = fixture.root.path().join("a.raw");
    std::fs::write(&raw, [0; 32]).unwrap();
    let import = format!("import {} --dtype np.float64 --shape 4", raw.display());
    fixture.ndshm(&import).success();
    assert_eq!(
        fixture.run.array_any("a").unwrap().dtype().to_string(),
        "<f8"
    );
    for wrong in [">f8", "f9", "np.", "float63", "(3,)", "()f8"] {
        assert_eq!(
            fixture.failure(&format!("new wrong '{wrong}' 4")).1,
            2,
            "{wrong}"
        );
    }
}

#[test]
fn an_array_that_grows_is_made_with_the_shape_of_a_row() {
    let fixture = Fixture::new();
    let path = fixture.output("new run/log f64 8 --grow 1000000 --attr unit=m --axes time,channel");
    assert!(path.ends_with("/run/log.ndshm\n"), "{path}");
    let log = fixture.run.growing::<f64, ndarray::Ix2>("log").unwrap();
    assert_eq!(
        (log.max_len(), log.row_shape(), log.len()),
        (1_000_000, &[8][..], 0)
    );
    let shown = fixture.json("show log");
    assert_eq!(shown["axis_names"], serde_json::json!(["time", "channel"]));
    assert_eq!(shown["attributes"]["unit"], "m");
    fixture.ndshm("new run/numbers u8 () --grow 5").success();
    let handle = fixture.output("new run/claimed u8 3 --grow 5 --scope remote");
    assert!(handle.starts_with("ndshm1:"), "{handle}");
}

#[test]
fn a_ring_is_made_with_the_shape_of_a_frame() {
    let fixture = Fixture::new();
    fixture
        .ndshm("new run/camera u8 48,64,3 --frames 8 --max-subscribers 3 --info f8")
        .success();
    let ring = fixture.run.ring_any("camera").unwrap();
    assert_eq!((ring.frames(), ring.frame_shape()), (8, &[48, 64, 3][..]));
    assert_eq!(ring.max_subscribers(), 3);
    assert_eq!(ring.info_dtype().unwrap().to_string(), "<f8");
    fixture.ndshm("new run/other u8 48 --frames 2").success();
    assert_eq!(fixture.run.ring_any("other").unwrap().max_subscribers(), 64);
}

#[test]
fn rings_and_growing_arrays_that_cannot_be_are_refused() {
    let fixture = Fixture::new();
    for (arguments, words) in [
        ("u8 3 --frames 1", "a ring has 2 to 256"),
        ("u8 3 --frames 257", "a ring has 2 to 256"),
        ("u8 0 --frames 4", "at least one element"),
        ("u8 3 --frames 4 --max-subscribers 0", "1 to 4096"),
        ("u8 3 --frames 4 --info nothing", "is no element type"),
        ("u8 0 --grow 4", "at least one byte"),
        ("u8 3 --grow 0", "room for one"),
    ] {
        let (line, code) = fixture.failure(&format!("new run/bad {arguments}"));
        assert!(
            code == 2 && line.contains(words),
            "{arguments}: {code}: {line}"
        );
    }
    for arguments in [
        "u8 3 --grow 4 --frames 4",
        "u8 3 --grow 4 --fill 1",
        "u8 3 --frames 4 --fill 1",
        "u8 3 --max-subscribers 4",
        "u8 3 --info f8",
    ] {
        fixture.ndshm(&format!("new run/bad {arguments}")).code(2);
    }
    assert_eq!(fixture.run.list().unwrap(), []);
}
