//! `tail` of rings, and rows and frames as JSON.

use crate::fixture::Fixture;
use ndarray::{Ix1, Ix2, array};
use ndshm::{DType, Element, Ring};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_last_frames_of_a_ring_are_those_that_are_still_there() {
    let fixture = Fixture::new();
    let ring: Ring<u8, Ix2> = fixture
        .run
        .options()
        .name("camera")
        .ring((2, 5), 4)
        .unwrap();
    assert_eq!(fixture.output("tail camera"), "");
    let mut producer = ring.produce().unwrap();
    for value in 1..=6 {
        let mut frame = producer.next().unwrap();
        frame.fill(value);
        frame.publish().unwrap();
    }
    let shown = fixture.output("tail camera");
    let shown: Vec<_> = shown.lines().collect();
    assert_eq!(shown.len(), 4, "{shown:?}");
    assert!(shown[0].starts_with("frame 3  (2, 5)  "), "{shown:?}");
    assert!(shown[3].starts_with("frame 6  (2, 5)  "), "{shown:?}");
    assert!(
        shown[3].ends_with("missed  [6 6 6 6 6 6 6 6 ...]"),
        "{shown:?}"
    );
    let last = fixture.output("tail camera -n 1");
    assert!(
        last.starts_with("frame 6  ") && last.lines().count() == 1,
        "{last}"
    );
    assert_eq!(fixture.output("tail camera -n 0"), "");

    let mut following = fixture.start("tail camera -n 0 --follow");
    producer.wait_subscribers(1, SOON).unwrap();
    // Valid rows only.
    let mut frame = producer.next().unwrap();
    frame.fill(9);
    frame.publish_rows(1).unwrap();
    let line = following.line().unwrap();
    assert!(
        line.starts_with("frame 7  (1, 5)  ") && line.ends_with("[9 9 9 9 9]"),
        "{line}"
    );
    producer.finish().unwrap();
    assert_eq!(following.end(), (String::new(), String::new(), Some(0)));
    // Nothing of the looks is left.
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn frames_are_json_objects_with_their_elements() {
    let fixture = Fixture::new();
    let ring: Ring<f32, Ix1> = fixture.run.options().name("camera").ring(3, 4).unwrap();
    let mut producer = ring.produce().unwrap();
    let mut frame = producer.next().unwrap();
    frame.assign(&array![0.1, f32::NAN, f32::NEG_INFINITY]);
    frame.publish().unwrap();
    let found = lines(&fixture.output("tail --json camera")).remove(0);
    assert_eq!(found["values"], json!([0.1, "nan", "-inf"]));
    assert_eq!(
        (found["frame"].clone(), found["shape"].clone()),
        (1.into(), json!([3]))
    );
    assert_eq!(found["dtype"], "<f4");
    assert!(
        found["time"].as_f64().unwrap() > 1.7e9 && found["missed"] == 0,
        "{found}"
    );
}

#[test]
fn rows_are_json_objects_with_all_digits() {
    let fixture = Fixture::new();
    let log = fixture
        .run
        .options()
        .name("log")
        .growing::<f64, _>(1000, 2)
        .unwrap();
    log.append(&array![[1.0, 2.5], [f64::INFINITY, 0.1 + 0.2]])
        .unwrap();
    assert_eq!(
        fixture.output("tail --json log"),
        "{\"index\":0,\"values\":[1.0,2.5]}\n\
         {\"index\":1,\"values\":[\"inf\",0.30000000000000004]}\n"
    );
    assert_eq!(
        lines(&fixture.output("tail --json log -n 1"))[0]["index"],
        1
    );
    let mut following = fixture.start("tail --json --follow log -n 0");
    log.append(&array![[3.0, 4.0]]).unwrap();
    log.freeze().unwrap();
    // The row may have come before the look at the length.
    if let Some(line) = following.line() {
        assert_eq!(line, "{\"index\":2,\"values\":[3.0,4.0]}");
    }
    assert_eq!(following.end().2, Some(0));
}

#[test]
fn elements_of_every_kind_have_a_json_value() {
    let fixture = Fixture::new();
    let options = |name: &str| fixture.run.options().name(name.to_owned());
    let value = |name: &str| lines(&fixture.output(&format!("tail --json {name}")))[0].clone();
    let fields = [("position", <[f32; 2]>::DTYPE, 0), ("id", u64::DTYPE, 8)];
    let particle = DType::structure(fields, 16).unwrap();
    let particles = options("particles")
        .growing_any(&particle, &[], 10)
        .unwrap();
    let row = [0.5f32.to_ne_bytes(), (-1.0f32).to_ne_bytes()].concat();
    particles
        .append_bytes(&[row, u64::MAX.to_ne_bytes().to_vec()].concat())
        .unwrap();
    assert_eq!(
        value("particles")["values"],
        json!({ "position": [0.5, -1.0], "id": u64::MAX })
    );
    let text = |name: &str, dtype: &str, row: &[u8], expected: Value| {
        let log = options(name)
            .growing_any(&dtype.parse().unwrap(), &[], 10)
            .unwrap();
        log.append_bytes(row).unwrap();
        assert_eq!(value(name)["values"], expected, "{dtype}");
    };
    text("bools", "|b1", &[1], json!(true));
    text("bytes", "|i1", &[0xff], json!(-1));
    text("longs", "<i8", &i64::MIN.to_ne_bytes(), json!(i64::MIN));
    text(
        "huge",
        "uint128",
        &u128::MAX.to_ne_bytes(),
        json!(u128::MAX.to_string()),
    );
    text("halves", "<f2", &0x3c00u16.to_ne_bytes(), json!(1.0));
    text("brains", "bfloat16", &0x7f80u16.to_ne_bytes(), json!("inf"));
    let complex: Vec<u8> = [1.5f64, -2.0]
        .iter()
        .flat_map(|x| x.to_ne_bytes())
        .collect();
    text("complex", "<c16", &complex, json!([1.5, -2.0]));
    let cubes = options("cubes").growing::<u8, _>(10, (2, 2)).unwrap();
    cubes.append(&ndarray::arr3(&[[[1, 2], [3, 4]]])).unwrap();
    assert_eq!(value("cubes")["values"], json!([[1, 2], [3, 4]]));
}

#[test]
fn a_row_of_several_pieces_is_written_whole() {
    let fixture = Fixture::new();
    let log = fixture
        .run
        .options()
        .name("log")
        .growing::<i128, _>(2, (17, 1 << 16))
        .unwrap();
    log.reserve(1).unwrap().commit().unwrap();
    let line = fixture.output("tail --json log");
    let found: Value = serde_json::from_str(&line).unwrap();
    let rows = found["values"].as_array().unwrap();
    let lengths: Vec<_> = rows
        .iter()
        .map(|row| row.as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [1 << 16; 17]);
}

#[test]
fn an_array_of_fixed_shape_has_no_rows_that_come() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    let (line, code) = fixture.failure("tail --json xs");
    assert!(
        code == 2 && line.contains("only an array that grows"),
        "{line}"
    );
}
