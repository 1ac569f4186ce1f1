//! `show`.

use crate::fixture::{Fixture, start_a_writer};
use ndarray::ShapeBuilder;
use snapbox::str;

#[test]
fn header_attributes_elements_and_numbers_are_shown() {
    let fixture = Fixture::new();
    fixture
        .ndshm("new xs f64 3,4 --fill 1.5 --attr unit=m --axes row,column")
        .success();
    fixture.ndshm("show xs").success().stdout_eq(str![[r#"
xs  <f8 (3, 4), 96 B
path        [..]/run/xs.ndshm
id          [..]
made        [..] s ago by process [..], ndshm [..]
scope       store, 0 mappings
axes        row, column
attribute   unit = m

[[1.5 1.5 1.5 1.5]
 [1.5 1.5 1.5 1.5]
 [1.5 1.5 1.5 1.5]]

min 1.5  max 1.5  mean 1.5  NaN 0

"#]]);
}

#[test]
fn corners_are_shown_as_numpy_does_at_any_rank() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[100, 100]);
    fixture
        .ndshm("show --quick xs")
        .success()
        .stdout_eq(str![[r#"
...
[[   0.    1.    2. ...   97.   98.   99.]
 [ 100.  101.  102. ...  197.  198.  199.]
 [ 200.  201.  202. ...  297.  298.  299.]
 ...
 [9700. 9701. 9702. ... 9797. 9798. 9799.]
 [9800. 9801. 9802. ... 9897. 9898. 9899.]
 [9900. 9901. 9902. ... 9997. 9998. 9999.]]

"#]]);
    // 31 axes, with more elements than fit on a screen.
    let shape = [vec![1; 15], vec![2; 16]].concat();
    fixture.arange("deep", &shape);
    let text = fixture.output("show deep");
    assert!(
        text.contains("min 0.  max 65535.  mean 32767.5  NaN 0") && text.lines().count() < 400,
        "{text}"
    );
    fixture.arange("none", &[]);
    fixture.arange("empty", &[0, 5]);
    assert!(fixture.output("show none").contains("\n\n0.\n\nmin 0."));
    assert!(
        fixture
            .output("show empty")
            .contains("\n\n[]\n\nno finite element")
    );
}

#[test]
fn a_histogram_and_a_heat_map_are_drawn() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[40, 300]);
    let text = fixture.output("show --bins 4 xs");
    let full = "█".repeat(40);
    assert_eq!(text.matches(&format!("{full} 3000")).count(), 4, "{text}");
    let map: Vec<_> = text
        .lines()
        .skip_while(|line| !line.ends_with(&format!("{full} 3000")))
        .skip_while(|line| line.contains('█'))
        .skip(1)
        .collect();
    assert_eq!(map.len(), 21, "{text}");
    assert!(
        map[0].trim().is_empty()
            && map[19].chars().all(|c| c == '@')
            && map[20].contains("from ' ' to '@'"),
        "{text}"
    );
    let colours = String::from_utf8(
        fixture
            .command("--color always show xs")
            .assert()
            .get_output()
            .stdout
            .clone(),
    )
    .unwrap();
    assert!(
        colours.contains("\u{1b}[38;2;") && colours.contains('▀'),
        "{colours}"
    );
}

#[test]
fn numbers_that_are_not_finite_are_counted_and_poisoned_ones_are_omitted() {
    let fixture = Fixture::new();
    let xs = fixture
        .arange("xs", &[20_000])
        .downcast::<f64, ndarray::Ix1>()
        .unwrap();
    xs.write().unwrap()[10_000] = f64::NAN;
    xs.write().unwrap()[10_001] = f64::NEG_INFINITY;
    start_a_writer(&fixture).kill();
    let text = fixture.output("show xs");
    assert!(
        text.contains("poisoned    bytes 16..32 may be half-written: ndshm recover"),
        "{text}"
    );
    assert!(text.contains("[    0.     1.      ? ... "), "{text}");
    assert!(
        text.contains("max 19999.")
            && text.contains("NaN 1  infinite 1  unread because of poison 8192"),
        "{text}"
    );
}

#[test]
fn every_type_of_element_is_shown() {
    let fixture = Fixture::new();
    for (dtype, fill, shown) in [
        ("bool", "1", "[True True]"),
        ("u8", "255", "[255 255]"),
        ("i16", "-3", "[-3 -3]"),
        (
            "u128",
            "340282366920938463463374607431768211455",
            "[340282366920938463463374607431768211455 ",
        ),
        ("f16", "0.5", "[0.5 0.5]"),
        ("bf16", "2", "[2. 2.]"),
        ("f32", "1e-9", "[1.00000e-9 1.00000e-9]"),
        ("complex64", "1-2j", "[1.-2.j 1.-2.j]"),
        ("(2,)<i4", "0", "[[0 0] [0 0]]"),
        ("|V3", "0", "[[0 0 0] [0 0 0]]"),
    ] {
        fixture
            .command("new --fill")
            .args([fill, "xs", dtype, "2"])
            .assert()
            .success();
        let text = fixture.output("show xs");
        assert!(text.contains(shown), "{dtype}: {text}");
        fixture.ndshm("rm xs").success();
    }
}

#[test]
fn arrays_in_f_order_and_json_give_the_same_numbers() {
    let fixture = Fixture::new();
    fixture
        .run
        .options()
        .name("fs")
        .from_shape_fn::<u16, _>((30, 20).f(), |(i, j)| (100 * i + j) as u16)
        .unwrap();
    let text = fixture.output("show fs");
    assert!(
        text.contains("<u2 (30, 20), F order")
            && text.contains("[[   0    1    2 ...   17   18   19]")
            && text.contains("min 0  max 2919  mean 1459.5"),
        "{text}"
    );
    let json = fixture.json("show fs --bins 2");
    assert_eq!(
        json["statistics"]["histogram"].to_string(),
        "[300,300]",
        "{json:#}"
    );
    assert_eq!(
        (
            &json["order"],
            &json["statistics"]["mean"],
            &json["view"]["shape"]
        ),
        (&"F".into(), &1459.5.into(), &serde_json::json!([30, 20]))
    );
}

#[test]
fn a_handle_for_another_process_is_not_claimed() {
    let fixture = Fixture::new();
    let handle = fixture
        .output("new xs f64 5 --scope remote")
        .trim()
        .to_owned();
    assert!(
        fixture
            .output(&format!("show {handle}"))
            .contains("scope       remote")
    );
    assert!(
        fixture
            .output(&format!("show {handle}[2:]"))
            .contains("view        <f8 (3,)")
    );
    assert_eq!(
        fixture.json("ls")["stores"][0]["arrays"][0]["scope"],
        "remote"
    );
}

#[test]
fn a_wait_for_a_writer_ends_with_an_error_after_the_given_time() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    let _writer = start_a_writer(&fixture);
    let (line, code) = fixture.failure("show xs --wait 0.1");
    assert!(code == 6 && line.contains("xs.ndshm: "), "{line}");
    assert!(
        fixture
            .output("show xs[4:] --wait 0.1")
            .contains("min 4.  max 9.")
    );
}

#[test]
fn minimum_and_maximum_of_integers_are_exact() {
    let fixture = Fixture::new();
    let xs = fixture.run.options().name("xs").zeros::<u64, _>(3).unwrap();
    xs.write()
        .unwrap()
        .assign(&ndarray::array![u64::MAX, u64::MAX - 1, (1 << 53) + 1]);
    assert!(
        fixture
            .output("show xs")
            .contains("min 9007199254740993  max 18446744073709551615  mean ")
    );
    let json = fixture.json("show xs[:2]")["statistics"].clone();
    assert_eq!(
        (json["min"].as_u64(), json["max"].as_u64()),
        (Some(u64::MAX - 1), Some(u64::MAX))
    );
    let large = fixture
        .run
        .options()
        .name("large")
        .zeros::<u128, _>(2)
        .unwrap();
    large.write().unwrap()[1] = u128::MAX;
    assert_eq!(
        fixture.json("show large")["statistics"]["max"],
        u128::MAX.to_string()
    );
    let small = fixture
        .run
        .options()
        .name("small")
        .zeros::<i8, _>((3, 2))
        .unwrap();
    small.write().unwrap()[[2, 1]] = -128;
    assert!(
        fixture
            .output("show 'small[:, 1]'")
            .contains("min -128  max 0  mean ")
    );
}

#[test]
fn fields_of_structs_and_items_of_subarrays_have_statistics() {
    use ndshm::{DType, Element};
    let fixture = Fixture::new();
    let inner = DType::structure(
        [("n", i32::DTYPE, 0), ("raw", "|V4".parse().unwrap(), 4)],
        8,
    )
    .unwrap();
    let dtype = DType::structure([("x", <[f64; 2]>::DTYPE, 0), ("inner", inner, 16)], 24).unwrap();
    let array = fixture
        .run
        .options()
        .name("structs")
        .zeros_any(&dtype, &[4])
        .unwrap();
    array
        .field_array("x")
        .unwrap()
        .downcast::<f64, ndarray::Ix2>()
        .unwrap()
        .write()
        .unwrap()[[3, 1]] = 8.0;
    array
        .field("inner")
        .unwrap()
        .field("n")
        .unwrap()
        .downcast::<i32, ndarray::Ix1>()
        .unwrap()
        .write()
        .unwrap()[2] = -4;
    let text = fixture.output("show structs");
    for line in [
        "x          min 0.  max 8.  mean 1.  NaN 0",
        "inner.n    min -4  max 0  mean -1.  NaN 0",
        "inner.raw  no statistics: elements of type |V4 are no numbers",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json = fixture.json("show structs");
    assert_eq!(
        (
            &json["fields"]["inner.n"]["min"],
            &json["statistics"],
            &json["fields"]["inner.raw"]
        ),
        (&(-4).into(), &().into(), &().into())
    );
    let array = fixture
        .run
        .options()
        .name("pairs")
        .zeros::<[f32; 2], _>(3)
        .unwrap();
    array.write().unwrap()[1] = [3.0, -3.0];
    assert!(
        fixture
            .output("show pairs")
            .contains("min -3.  max 3.  mean 0.  NaN 0")
    );
    fixture
        .run
        .options()
        .name("bytes")
        .zeros_any(&"|V5".parse().unwrap(), &[3])
        .unwrap();
    assert!(
        fixture
            .output("show bytes")
            .ends_with("\nno statistics: elements of type |V5 are no numbers\n")
    );
}

#[test]
#[ignore = "started by another test"]
pub(crate) fn child_with_atomics() {
    let path = crate::common::arguments().remove(0);
    let xs = ndshm::SharedArray1::<u64>::open_path(path).unwrap();
    let atomics = xs.atomic().unwrap();
    atomics[3].store(7, std::sync::atomic::Ordering::SeqCst);
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(atomics);
    crate::common::done();
}

/// `show`, `plot` and `cp` of an array that a worker held waited ten seconds and failed: a look at
/// the counters of a running program was not possible at all.
#[test]
fn atomics_are_read_as_atomics_beside_the_process_that_holds_them() {
    let fixture = Fixture::new();
    let xs = fixture.run.options().name("xs").zeros::<u64, _>(6).unwrap();
    let path = xs.path().to_str().unwrap();
    let mut worker = crate::common::Peer::start(child_with_atomics, &[path]);
    worker.hear("ready");
    let shown = fixture.output("show xs --wait 0");
    assert!(
        shown.contains("[0 0 0 7 0 0]")
            && shown.contains("max 7")
            && shown.contains("read        as atomics"),
        "{shown}"
    );
    let json = fixture.json("show xs --wait 0");
    assert_eq!(
        (json["read"].as_str(), &json["statistics"]["max"]),
        (Some("atomic"), &7.into())
    );
    let picture = fixture.root.path().join("xs.svg");
    fixture
        .ndshm(&format!("plot xs --wait 0 -o {}", picture.display()))
        .success();
    fixture.ndshm("cp xs copy --wait 0").success();
    let copy = fixture.run.array::<u64, ndarray::Ix1>("copy").unwrap();
    assert_eq!(copy.to_ndarray().unwrap().to_vec(), [0, 0, 0, 7, 0, 0]);
    // A part of it, of one element, and a read-only handle, which atomics cannot have.
    assert!(fixture.output("show xs[3] --wait 0").contains("\n7\n"));
    worker.finish();
    assert_eq!(fixture.json("show xs")["read"], "locked");
}

/// As above.
#[test]
fn elements_that_a_writer_holds_are_shown_unlocked_where_the_user_says_so() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let picture = fixture.root.path().join("xs.svg").display().to_string();
    let writer = start_a_writer(&fixture);
    for command in [
        "show xs",
        "--json show xs",
        &format!("plot xs -o {picture}"),
        "cp xs copy",
    ] {
        let (line, code) = fixture.failure(&format!("{command} --wait 0"));
        assert!(
            code == 6 && line.contains("--unlocked takes a snapshot"),
            "{command}: {line}"
        );
    }
    let (line, code) = fixture.failure("export xs --wait 0 -o /dev/null --format npy");
    assert!(code == 6 && line.contains("ndshm cp --unlocked"), "{line}");
    assert!(!fixture.run.contains("copy").unwrap());
    let shown = fixture.output("show xs --unlocked");
    assert!(
        shown.contains("[0. 1. 2. 3. 4. 5.]")
            && shown.contains("max 5")
            && shown.contains("read        without a lock: a snapshot"),
        "{shown}"
    );
    assert_eq!(fixture.json("show xs --unlocked")["read"], "unlocked");
    fixture
        .ndshm(&format!("plot xs --unlocked -o {picture}"))
        .success();
    assert!(
        std::fs::read_to_string(&picture)
            .unwrap()
            .contains("xs (unlocked)")
    );
    assert_eq!(fixture.json("cp xs copy --unlocked")["read"], "unlocked");
    let copy = fixture.run.array::<f64, ndarray::Ix1>("copy").unwrap();
    assert_eq!(copy.read().unwrap().sum(), 15.0);
    writer.finish();
}
