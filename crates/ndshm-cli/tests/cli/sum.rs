//! `sum`.

use crate::{export::shell, fixture::Fixture};
use ndarray::{IxDyn, ShapeBuilder};
use ndshm::{DType, Order};
use sha2::{Digest, Sha256};

/// The digest as the documentation defines it.
fn expected(dtype: &str, shape: &str, bytes: &[u8]) -> String {
    let head = format!("ndshm-sum-1 {dtype} {shape}\n");
    let digest = Sha256::digest([head.as_bytes(), bytes].concat());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_digest_is_that_of_type_shape_and_elements_whatever_their_order_in_memory() {
    let fixture = Fixture::new();
    let value = |index: IxDyn| index[0] as f64 * 10.0 + index[1] as f64;
    let options = fixture.run.options();
    let shape = IxDyn(&[3, 2]);
    options
        .clone()
        .name("c")
        .from_shape_fn(shape.clone(), value)
        .unwrap();
    options.name("f").from_shape_fn(shape.f(), value).unwrap();
    let bytes: Vec<u8> = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0_f64]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let digest = expected("<f8", "(3, 2)", &bytes);
    assert_eq!(
        fixture.output("sum c f 'f[1:2]'"),
        format!(
            "{digest}  c\n{digest}  f\n{}  f[1:2]\n",
            expected("<f8", "(1, 2)", &bytes[16..32])
        )
    );
    fixture.ndshm("new one u1 () --fill 7").success();
    fixture.ndshm("new none u1 0").success();
    let json = fixture.json("sum one none");
    assert_eq!(json[0]["digest"], expected("|u1", "()", &[7]));
    assert_eq!(json[1]["digest"], expected("|u1", "(0,)", &[]));
    assert_eq!(json[0]["dtype"], "|u1");
}

#[test]
fn the_gaps_between_the_fields_of_structs_do_not_count() {
    let fixture = Fixture::new();
    let fields = [
        ("a", "|u1".parse().unwrap(), 0),
        ("b", "<u2".parse().unwrap(), 2),
    ];
    let dtype = DType::structure(fields, 4).unwrap();
    for (name, gap) in [("xs", 0), ("ys", 9)] {
        let options = fixture.run.options().name(name);
        let bytes = [1, gap, 2, 3, 4, gap, 5, 6];
        options.from_bytes(&dtype, &[2], Order::C, &bytes).unwrap();
    }
    let digest = expected(&dtype.to_string(), "(2,)", &[1, 2, 3, 4, 5, 6]);
    assert_eq!(
        fixture.output("sum xs ys"),
        format!("{digest}  xs\n{digest}  ys\n")
    );
}

#[test]
fn digests_are_checked_again_and_each_array_that_differs_is_named() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    fixture.arange("ys", &[3]);
    fixture.arange("a\n\u{1b}[31mb", &[2]);
    let script = "ndshm sum xs ys $'a\\n\\e[31mb' > sums; ndshm sum --check sums; \
                  ndshm rm ys; ndshm new ys f8 3; ndshm sum -c sums; echo $?; \
                  ndshm sum -c --quiet - < sums; ndshm rm ys; ndshm sum -c sums; echo $?";
    let output = shell(&fixture, script);
    let text = String::from_utf8(output.stdout).unwrap();
    let all = "xs: OK\nys: OK\na\u{fffd}\u{fffd}[31mb: OK\n";
    let changed = all.replace("ys: OK", "ys: FAILED");
    let made = format!("{}/ys.ndshm\n", fixture.run.path().display());
    let missing = all.replace("ys: OK", "ys: FAILED to read");
    assert_eq!(
        text,
        format!("{all}{made}{changed}1\nys: FAILED\n{missing}1\n")
    );
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("1 of 3 digests could not be confirmed"),
        "{errors}"
    );
    assert!(errors.contains("ys: no such array"), "{errors}");
    let sums = std::fs::read_to_string(fixture.root.path().join("sums")).unwrap();
    assert!(sums.lines().last().unwrap().starts_with('\\'), "{sums}");
    assert_eq!(sums.lines().count(), 3);
}

#[test]
fn no_digest_is_printed_where_a_name_is_wrong_and_other_files_are_refused() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    let assert = fixture.ndshm("sum xs ys").failure();
    assert_eq!(assert.get_output().stdout, b"");
    let root = fixture.root.path().to_owned();
    for (content, words) in [
        ("hello\n", "line 1 is no digest"),
        ("", "it has no digests"),
        (&format!("{}  \n", "0".repeat(64)), "line 1 is no digest"),
        (
            &format!("{}  xs\n{}\n", "0".repeat(64), "0".repeat(64)),
            "line 2",
        ),
    ] {
        std::fs::write(root.join("sums"), content).unwrap();
        let (line, code) = fixture.failure(&format!("sum -c {}/sums", root.display()));
        assert!(code == 1 && line.contains(words), "{content}: {line}");
    }
    assert!(
        fixture
            .failure("sum -c /nowhere/sums")
            .0
            .contains("/nowhere/sums")
    );
}
