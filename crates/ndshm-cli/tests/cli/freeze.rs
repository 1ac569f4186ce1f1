//! `freeze`.

use crate::stage::Stage;

#[test]
fn frozen_arrays_are_not_written_any_more() {
    let stage = Stage::new();
    let xs = stage.counting("xs", &[4]);
    stage.counting("ys", &[4]);
    stage.ndshm("freeze xs ys").success().stdout_eq("");
    assert!(xs.is_frozen() && !xs.is_writable());
    assert!(
        stage
            .output("ls")
            .lines()
            .filter(|line| line.contains("frozen"))
            .count()
            == 2
    );
}

#[test]
fn a_part_cannot_be_frozen() {
    let stage = Stage::new();
    let xs = stage.counting("xs", &[4]);
    assert_eq!(
        stage.failure("freeze xs[1:]"),
        (
            "ndshm: xs[1:]: arrays are frozen as a whole: leave the slice out\n".into(),
            2
        )
    );
    assert!(!xs.is_frozen());
}
