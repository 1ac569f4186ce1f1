//! `diff`.

use crate::fixture::Fixture;
use ndshm::{DType, Element, Order};
use num_complex::Complex64;

fn make<T: Element>(fixture: &Fixture, name: &str, elements: &[T]) {
    let options = fixture.run.options().name(name);
    options
        .from_shape_fn(elements.len(), |at| elements[at])
        .unwrap();
}

/// The report and the exit code.
#[track_caller]
fn diff(fixture: &Fixture, arguments: &str) -> (String, i32) {
    let assert = fixture.ndshm(&format!("diff {arguments}"));
    let output = assert.get_output();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (text, output.status.code().unwrap())
}

#[test]
fn equal_arrays_are_silent_and_different_elements_are_counted_and_shown() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10, 10]);
    let ys = fixture.arange("ys", &[10, 10]);
    assert_eq!(diff(&fixture, "xs ys"), (String::new(), 0));
    let ys = ys.downcast::<f64, ndarray::Ix2>().unwrap();
    {
        let mut guard = ys.write().unwrap();
        guard[[1, 2]] = 12.5;
        guard[[9, 9]] = 109.0;
        guard[[0, 1]] = 4.0;
    }
    let report = "elements: 3 of 100 differ (3.000 %)\n  \
                  first:            [0, 1]: 1.0 and 4.0, absolute 3.0, relative 0.75\n  \
                  largest absolute: [9, 9]: 99.0 and 109.0, absolute 10.0, relative \
                  0.09174311926605505\n  \
                  largest relative: [0, 1]: 1.0 and 4.0, absolute 3.0, relative 0.75\n";
    assert_eq!(diff(&fixture, "xs ys"), (report.to_owned(), 1));
    assert_eq!(diff(&fixture, "xs ys --quiet"), (String::new(), 1));
    assert_eq!(diff(&fixture, "xs[2:9] ys[2:9]").1, 0);
    assert_eq!(diff(&fixture, "'xs[::-1, ::-1]' 'ys[::-1, ::-1]'").1, 1);
    let json = fixture.ndshm("diff xs ys --json");
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    assert_eq!(json["equal"], false);
    assert_eq!(json["elements"]["different"], 3);
    assert_eq!(json["elements"]["count"], 100);
    assert_eq!(
        json["elements"]["largest_absolute"]["index"].to_string(),
        "[9,9]"
    );
    assert_eq!(json["elements"]["first"]["a"], "1.0");
}

#[test]
fn tolerances_are_those_of_numpy_and_nan_equals_nan_unless_told_otherwise() {
    let fixture = Fixture::new();
    let nan = f64::NAN;
    make(&fixture, "a", &[1.0, nan, f64::INFINITY, 100.0]);
    make(&fixture, "b", &[1.1, nan, f64::INFINITY, 100.0]);
    make(&fixture, "c", &[1.0, nan, f64::NEG_INFINITY, 100.0]);
    make(&fixture, "d", &[1.0, 1.0, f64::INFINITY, 100.0]);
    for (arguments, code) in [
        ("a a", 0),
        ("a a --equal-nan=false", 1),
        ("a b", 1),
        ("a b --atol 0.11", 0),
        ("a b --atol 0.09", 1),
        ("a b --rtol 0.1", 0),
        ("a b --rtol 0.09", 1),
        ("a b --rtol 0.05 --atol 0.05", 0),
        ("a c --atol inf --rtol inf", 1),
        ("a d --atol 1e9", 1),
        // Of the second number: 0.1 of 1.1, but not of 1.
        ("b a --rtol 0.095", 1),
        ("a b --rtol 0.095", 0),
    ] {
        assert_eq!(diff(&fixture, arguments).1, code, "{arguments}");
    }
    for wrong in ["--rtol -1", "--atol nan", "--rtol x"] {
        let assert = fixture.ndshm(&format!("diff a b {wrong}"));
        assert_eq!(assert.get_output().status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn integers_of_all_sizes_are_compared_exactly() {
    let fixture = Fixture::new();
    make(&fixture, "a", &[u64::MAX, 5, 1 << 53]);
    make(&fixture, "b", &[u64::MAX - 1, 5, (1 << 53) + 1]);
    let (report, code) = diff(&fixture, "a b");
    assert!(code == 1 && report.contains("2 of 3 differ"), "{report}");
    let first = "[0]: 18446744073709551615 and 18446744073709551614, absolute 1,";
    assert!(report.contains(first), "{report}");
    make(&fixture, "c", &[u128::MAX]);
    make(&fixture, "d", &[u128::MAX - 1]);
    make(&fixture, "e", &[i128::MIN]);
    assert!(diff(&fixture, "c d").0.contains("absolute 1,"));
    assert!(diff(&fixture, "c e --values").1 == 1);
    // By value across types, without loss: 2^53 + 1 is no f64.
    make(&fixture, "f", &[u64::MAX as f64, 5.0, (1_u64 << 53) as f64]);
    let (report, code) = diff(&fixture, "f a --values");
    assert!(code == 1 && report.contains("1 of 3 differ"), "{report}");
    assert!(report.contains("absolute 1,"), "{report}");
    assert_eq!(diff(&fixture, "a[1:] f[1:] --values"), (String::new(), 0));
    assert_eq!(diff(&fixture, "b[1:] f[1:] --values").1, 1);
    let typed = ("type: <u8 and <f8\n".to_owned(), 1);
    assert_eq!(diff(&fixture, "a[1:] f[1:]"), typed);
}

#[test]
fn complex_numbers_differ_by_their_modulus_and_structs_by_field() {
    let fixture = Fixture::new();
    make(
        &fixture,
        "a",
        &[Complex64::new(1.0, 1.0), Complex64::new(f64::NAN, 1.0)],
    );
    make(
        &fixture,
        "b",
        &[Complex64::new(4.0, 5.0), Complex64::new(2.0, f64::NAN)],
    );
    let (report, code) = diff(&fixture, "a b");
    assert!(code == 1 && report.contains("1 of 2 differ"), "{report}");
    assert!(
        report.contains("1.0+1.0j and 4.0+5.0j, absolute 5.0"),
        "{report}"
    );
    assert_eq!(diff(&fixture, "a b --atol 5").1, 0);

    let fields = [
        ("id", "|u1".parse().unwrap(), 0),
        ("x", "(2,)<f4".parse().unwrap(), 4),
    ];
    let dtype = DType::structure(fields, 12).unwrap();
    let element = |gap: u8, x: f32| {
        let start = [1, gap, gap, gap].to_vec();
        [
            start,
            1_f32.to_ne_bytes().to_vec(),
            x.to_ne_bytes().to_vec(),
        ]
        .concat()
    };
    for (name, gap, x) in [("s", 0, 1.0), ("gaps", 7, 1.0), ("t", 0, 3.0)] {
        let options = fixture.run.options().name(name);
        let bytes = [element(gap, 1.0), element(gap, x)].concat();
        options.from_bytes(&dtype, &[2], Order::C, &bytes).unwrap();
    }
    assert_eq!(diff(&fixture, "s gaps"), (String::new(), 0));
    let (report, code) = diff(&fixture, "s t");
    assert!(code == 1 && report.contains("1 of 2 differ"), "{report}");
    assert!(
        report.contains("  x[1]: 1\n") && report.contains("[1].x[1]: 1.0 and 3.0"),
        "{report}"
    );
    let (report, code) = diff(&fixture, "s a --values");
    assert!(
        code == 1 && report.contains("not compared, only in the first array"),
        "{report}"
    );
}

#[test]
fn shapes_types_attributes_and_names_of_axes_are_differences_of_their_own() {
    let fixture = Fixture::new();
    fixture
        .ndshm("new a f8 2,3 --attr unit=m --axes y,x")
        .success();
    fixture
        .ndshm("new b f8 2,3 --attr unit=s --attr more=1")
        .success();
    fixture
        .ndshm("new c f4 2,3 --attr unit=m --axes y,x")
        .success();
    fixture.ndshm("new d f8 3,2").success();
    let (report, code) = diff(&fixture, "a b");
    let expected = "axes: (y, x) and ()\nattribute unit: \"m\" and \"s\"\n\
                    attribute more: none and \"1\"\n";
    assert_eq!((report.as_str(), code), (expected, 1));
    assert_eq!(diff(&fixture, "a b --values").1, 0);
    assert_eq!(diff(&fixture, "a b --quiet"), (String::new(), 1));
    assert_eq!(diff(&fixture, "a c"), ("type: <f8 and <f4\n".into(), 1));
    assert_eq!(diff(&fixture, "a c --values").1, 0);
    let (report, code) = diff(&fixture, "a d --values");
    let expected = "shape: (2, 3) and (3, 2); elements are not compared\n";
    assert_eq!((report.as_str(), code), (expected, 1));
}

#[test]
fn files_of_other_formats_are_compared_and_leave_nothing() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4, 5]);
    fixture.arange("ys", &[3]);
    let root = fixture.root.path().display().to_string();
    fixture.output(&format!("export xs -o {root}/a.npy"));
    fixture.output(&format!("export xs ys -o {root}/a.npz --compress"));
    fixture.output(&format!("export xs ys -o {root}/plain.npz"));
    fixture.output(&format!("export xs ys -o {root}/a.safetensors"));
    fixture.output(&format!("export ys -o {root}/one.safetensors"));
    let ordered = fixture.run.options().name("ordered");
    let shape = ndarray::ShapeBuilder::f(ndarray::IxDyn(&[4, 5]));
    let value = |index: ndarray::IxDyn| (index[0] * 5 + index[1]) as f64;
    ordered.from_shape_fn(shape, value).unwrap();
    fixture.output(&format!("export ordered -o {root}/f.npy"));
    let whole = std::fs::read(fixture.root.path().join("a.npy")).unwrap();
    let short = fixture.root.path().join("short.npy");
    std::fs::write(short, &whole[..whole.len() - 1]).unwrap();
    fixture.output(&format!("export ys -o {root}/one.npz"));
    fixture
        .ndshm("new other/xs f8 4,5 --create-store")
        .success();
    let entries = || std::fs::read_dir(fixture.root.path()).unwrap().count();
    let before = entries();
    for (arguments, code) in [
        ("xs ROOT/a.npy", 0),
        ("run/xs[1:, ::2] ROOT/a.npy[1:, ::2]", 0),
        ("ROOT/a.npz:xs ROOT/a.safetensors:xs", 0),
        ("ROOT/a.npz:xs[0] xs[1]", 1),
        ("ROOT/one.npz ys", 0),
        ("ROOT/one.safetensors ys", 0),
        ("ROOT/plain.npz:xs ROOT/a.npy", 0),
        ("ROOT/plain.npz:ys ROOT/one.npz", 0),
        ("ROOT/plain.npz:xs[1] ROOT/a.npy[1]", 0),
        ("ROOT/f.npy xs", 0),
        ("ordered ROOT/a.npy", 0),
        ("ROOT/a.npy ys", 1),
        ("other/xs ROOT/a.npy", 1),
        ("run/xs other/xs", 1),
        ("run/xs[0, 0] other/xs[0, 0]", 0),
        ("ROOT/run/xs.ndshm xs", 0),
    ] {
        let quoted = arguments.replace("ROOT", &root);
        let (a, b) = split(&quoted);
        assert_eq!(
            diff(&fixture, &format!("'{a}' '{b}' --store run")).1,
            code,
            "{arguments}"
        );
    }
    for (arguments, words) in [
        ("ROOT/a.npz xs", "choose one by its key"),
        ("ROOT/a.npz:zs xs", "no key is"),
        ("ROOT/a.npy:xs xs", "no keys"),
        ("ROOT/none.npy xs", "no such file"),
        ("ROOT/short.npy xs", "it is cut off"),
        ("ROOT/plain.npz:zs xs", "no key is"),
        ("ROOT/a.safetensors:zs xs", "no key is"),
        ("xs zs", "no such array"),
        ("xs xs[9]", "out of range"),
    ] {
        let (line, code) = fixture.failure(&format!(
            "diff --store run {}",
            arguments.replace("ROOT", &root)
        ));
        assert!(code == 2 && line.contains(words), "{arguments}: {line}");
    }
    assert_eq!(entries(), before);
}

fn split(arguments: &str) -> (&str, &str) {
    let at = arguments
        .match_indices(' ')
        .map(|(at, _)| at)
        .find(|&at| !arguments[..at].ends_with(','))
        .unwrap();
    (&arguments[..at], &arguments[at + 1..])
}

#[test]
fn a_difference_in_the_last_piece_is_found_at_its_index() {
    let fixture = Fixture::new();
    let options = fixture.run.options();
    let shape = ndarray::IxDyn(&[1500, 1000]);
    let xs = options
        .clone()
        .name("xs")
        .zeros::<u16, _>(shape.clone())
        .unwrap();
    options
        .name("ys")
        .zeros::<u16, _>(ndarray::ShapeBuilder::f(shape))
        .unwrap();
    assert_eq!(diff(&fixture, "xs ys").1, 0);
    xs.write().unwrap()[[1499, 998]] = 3;
    let (report, code) = diff(&fixture, "xs ys");
    assert!(
        code == 1 && report.contains("1 of 1500000 differ"),
        "{report}"
    );
    assert!(
        report.contains("[1499, 998]: 3 and 0, absolute 3, relative inf"),
        "{report}"
    );
}

/// Elements that lie in a file as in memory are read there, so that a file larger than the memory
/// of the stores can be compared.
#[test]
fn a_file_is_compared_piece_by_piece_without_a_store() {
    let fixture = Fixture::new();
    let len = 3_000_000;
    let options = fixture.run.options().name("xs");
    options.from_shape_fn(len, |at| at as u32).unwrap();
    let root = fixture.root.path().display().to_string();
    for name in ["a.npy", "a.npz", "a.safetensors"] {
        fixture.output(&format!("export xs -o {root}/{name}"));
        // Where no store can be made, nothing is copied.
        let compare = |file: &str| {
            fixture
                .command(&format!("diff {root}/run/xs.ndshm {file}"))
                .env("NDSHM_ROOT", "/proc/nowhere")
                .assert()
        };
        let path = format!("{root}/{name}");
        compare(&path).success().stdout_eq("").stderr_eq("");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = (len as u32 - 1).to_le_bytes();
        let at = bytes.windows(4).rposition(|window| window == last).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let output = compare(&path).code(1).get_output().stdout.clone();
        let report = String::from_utf8(output).unwrap();
        assert!(
            report.contains("[2999999]: 2999999 and 2999998, absolute 1"),
            "{report}"
        );
    }
}

#[test]
fn an_array_that_another_process_holds_is_trouble() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    let mut writer = crate::fixture::start_a_writer(&fixture);
    let (line, code) = fixture.failure("diff xs xs --wait 0");
    assert!(code == 2 && line.contains("--unlocked"), "{line}");
    let (report, code) = diff(&fixture, "xs xs --unlocked");
    assert!(code == 0 && report.contains("without a lock"), "{report}");
    writer.kill();
}
