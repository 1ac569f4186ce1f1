//! `recover`.

use crate::fixture::{Fixture, start_a_writer};
use ndarray::{Ix1, array};

#[test]
fn the_leftovers_of_a_killed_writer_are_set_anew_or_kept() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    let xs = fixture.run.array::<f64, Ix1>("xs").unwrap();
    start_a_writer(&fixture).kill();
    assert!(
        fixture
            .failure("cp xs ys")
            .0
            .contains("the bytes 16..32 may be half-written")
    );
    assert_eq!(
        fixture.output("recover xs[2:4] --fill -1"),
        "recovered 16 B in 1 range\n"
    );
    assert_eq!(xs.to_ndarray().unwrap(), array![0., 1., -1., -1., 4., 5.]);
    start_a_writer(&fixture).kill();
    assert_eq!(
        fixture.json("recover xs --keep"),
        serde_json::json!({ "recovered_bytes": 16, "ranges_left": 0 })
    );
    assert_eq!(xs.to_ndarray().unwrap(), array![0., 1., -1., -1., 4., 5.]);
    assert_eq!(
        fixture.output("recover xs --fill 9"),
        "no byte is poisoned\n"
    );
    assert_eq!(xs.to_ndarray().unwrap()[0], 0.);
}

#[test]
fn a_recovery_needs_either_fill_or_keep() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.ndshm("recover xs").code(2);
    fixture.ndshm("recover xs --keep --fill 0").code(2);
}
