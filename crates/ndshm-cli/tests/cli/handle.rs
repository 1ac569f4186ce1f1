//! `handle`.

use crate::fixture::Fixture;
use ndarray::{Ix1, array};
use ndshm::Handle;

#[test]
fn a_handle_names_an_array_or_a_part_for_another_process() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[4, 5]);
    let whole: Handle = fixture.output("handle xs").trim().parse().unwrap();
    assert_eq!((whole.id(), whole.is_writable()), (xs.id(), true));
    let row: Handle = fixture.output("handle xs[1,::-2]").trim().parse().unwrap();
    assert_eq!(
        row.open::<f64, Ix1>().unwrap().to_ndarray().unwrap(),
        array![9., 7., 5.]
    );
    let reader: Handle = fixture
        .output("handle --read-only xs[0]")
        .trim()
        .parse()
        .unwrap();
    assert!(!reader.open::<f64, Ix1>().unwrap().is_writable());
    assert_eq!(fixture.json("handle xs")["handle"], whole.to_string());
}
