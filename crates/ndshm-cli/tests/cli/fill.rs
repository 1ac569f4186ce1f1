//! `fill`.

use crate::fixture::{Fixture, start_a_writer};
use ndarray::{Ix1, Ix2};
use ndshm::{DType, Element};

#[test]
fn a_slice_gets_one_value_and_the_rest_stays() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[2, 3]);
    fixture
        .ndshm("fill 'xs[0, ::2]' nan")
        .success()
        .stdout_eq("");
    fixture.ndshm("fill xs[1] -- -1.5").success();
    let found = xs.downcast::<f64, Ix2>().unwrap().to_ndarray().unwrap();
    assert!(found[[0, 0]].is_nan() && found[[0, 2]].is_nan());
    assert_eq!(
        (found[[0, 1]], found[[1, 0]], found[[1, 2]]),
        (1.0, -1.5, -1.5)
    );
    assert_eq!(fixture.json("fill xs 0")["elements"], 6);
}

#[test]
fn values_have_the_type_of_the_elements() {
    let fixture = Fixture::new();
    for (dtype, value, shown) in [
        ("u1", "255", "255"),
        ("bool", "true", "True"),
        ("c16", "1+2j", "1.+2.j"),
        ("'(3,)f4'", "2", "2."),
        ("f2", "inf", "inf"),
    ] {
        fixture.ndshm(&format!("new a {dtype} 2")).success();
        fixture.ndshm(&format!("fill a {value}")).success();
        let output = fixture.output("show -q a");
        assert!(output.contains(shown), "{dtype}: {output}");
        fixture.ndshm("rm a").success();
    }
    fixture.ndshm("new bytes u1 2").success();
    for value in ["256", "-1", "nan", "x"] {
        let (line, code) = fixture.failure(&format!("fill bytes {value}"));
        assert!(code == 2 && line.contains("no value of type |u1"), "{line}");
    }
    // A wrong value is one also where nothing would be set.
    assert_eq!(fixture.failure("fill bytes[1:1] x").1, 2);
}

#[test]
fn a_field_of_structs_is_filled() {
    let fixture = Fixture::new();
    let fields = [("id", u32::DTYPE, 0), ("at", <[f32; 2]>::DTYPE, 4)];
    let dtype = DType::structure(fields, 12).unwrap();
    let points = fixture.run.options().name("points");
    let points = points.zeros_any(&dtype, &[3]).unwrap();
    fixture.ndshm("fill points[\"at\"][:,1] 2.5").success();
    let at = points.field_array("at").unwrap();
    let at = at.downcast::<f32, Ix2>().unwrap().to_ndarray().unwrap();
    assert_eq!(at, ndarray::array![[0.0, 2.5], [0.0, 2.5], [0.0, 2.5]]);
    let (line, code) = fixture.failure("fill points 1");
    assert!(code == 2 && line.contains("NAME[\"id\"]"), "{line}");
}

#[test]
fn arrays_that_cannot_be_written_are_refused() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.arange("frozen", &[6]).freeze().unwrap();
    let options = || fixture.run.options();
    options().name("ring").ring::<f64, _>(2, 2).unwrap();
    options().name("log").growing::<f64, _>(9, ()).unwrap();
    assert_eq!(fixture.failure("fill frozen 1").1, 4);
    assert!(fixture.failure("fill ring 1").0.contains("it is a ring"));
    assert!(fixture.failure("fill log 1").0.contains("array that grows"));
    let writer = start_a_writer(&fixture);
    assert_eq!(fixture.failure("fill xs 1 --wait 0").1, 6);
    fixture.ndshm("fill xs[:2] 9 --wait 0").success();
    writer.finish();
    let xs = fixture.run.array::<f64, Ix1>("xs").unwrap();
    assert_eq!(xs.to_ndarray().unwrap().to_vec(), [9., 9., 2., 3., 4., 5.]);
}

#[test]
fn an_array_larger_than_a_piece_is_filled_whole() {
    let fixture = Fixture::new();
    fixture.ndshm("new big u8 40000000").success();
    fixture.ndshm("fill big 3").success();
    let big = fixture.run.array::<u8, Ix1>("big").unwrap();
    assert!(big.read().unwrap().iter().all(|&byte| byte == 3));
}
