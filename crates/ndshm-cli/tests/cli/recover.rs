//! `recover`.

use crate::stage::{Stage, a_writer};
use ndarray::{Ix1, array};

#[test]
fn what_a_killed_writer_left_is_set_anew_or_kept() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    let xs = stage.run.array::<f64, Ix1>("xs").unwrap();
    a_writer(&stage).kill();
    assert!(
        stage
            .failure("cp xs ys")
            .0
            .contains("the bytes 16..32 may be half-written")
    );
    assert_eq!(
        stage.output("recover xs[2:4] --fill -1"),
        "recovered 16 B in 1 range\n"
    );
    assert_eq!(xs.to_ndarray().unwrap(), array![0., 1., -1., -1., 4., 5.]);
    a_writer(&stage).kill();
    assert_eq!(
        stage.json("recover xs --keep"),
        serde_json::json!({ "recovered_bytes": 16, "ranges_left": 0 })
    );
    assert_eq!(xs.to_ndarray().unwrap(), array![0., 1., -1., -1., 4., 5.]);
    assert_eq!(
        stage.output("recover xs --fill 9"),
        "nothing is poisoned there\n"
    );
    assert_eq!(xs.to_ndarray().unwrap()[0], 0.);
}

#[test]
fn whether_to_fill_or_to_keep_has_to_be_said() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    stage.ndshm("recover xs").code(2);
    stage.ndshm("recover xs --keep --fill 0").code(2);
}
