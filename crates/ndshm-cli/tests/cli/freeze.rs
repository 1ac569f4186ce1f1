//! `freeze`.

use crate::fixture::Fixture;

#[test]
fn frozen_arrays_cannot_be_written() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[4]);
    fixture.arange("ys", &[4]);
    fixture.ndshm("freeze xs ys").success().stdout_eq("");
    assert!(xs.is_frozen() && !xs.is_writable());
    assert!(
        fixture
            .output("ls")
            .lines()
            .filter(|line| line.contains("frozen"))
            .count()
            == 2
    );
}

#[test]
fn a_part_cannot_be_frozen() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[4]);
    assert_eq!(
        fixture.failure("freeze xs[1:]"),
        (
            "ndshm: xs[1:]: arrays are frozen as a whole: leave the slice out\n".into(),
            2
        )
    );
    assert!(!xs.is_frozen());
}
