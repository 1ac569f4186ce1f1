//! `cp`.

use crate::stage::Stage;
use ndarray::{Ix1, Ix2, array};

#[test]
fn a_part_is_copied_with_attributes_into_a_new_array() {
    let stage = Stage::new();
    stage.counting("xs", &[4, 5]);
    stage.ndshm("cp 'xs[1:3, ::-2]' part").success();
    let part = stage.run.array::<f64, Ix2>("part").unwrap();
    assert_eq!(
        part.to_ndarray().unwrap(),
        array![[9., 7., 5.], [14., 12., 10.]]
    );
    assert_eq!(part.scope(), ndshm::Scope::Store);
    stage
        .ndshm("new ys u8 3 --fill 7 --attr unit=m --axes t")
        .success();
    stage.ndshm("cp ys zs --freeze").success();
    let json = stage.json("show zs");
    assert_eq!(
        (
            json["attributes"]["unit"].as_str(),
            json["axis_names"][0].as_str(),
            json["frozen"].as_bool()
        ),
        (Some("m"), Some("t"), Some(true))
    );
}

#[test]
fn arrays_of_any_type_are_copied_into_another_store() {
    let stage = Stage::new();
    let triples = stage
        .run
        .options()
        .name("xs")
        .from_shape_fn::<[f32; 3], _>(1000, |i| [i as f32; 3])
        .unwrap();
    stage.ndshm("new other/one u8 1 --create-store").success();
    stage.ndshm("cp run/xs other/xs").success();
    let copy: ndshm::SharedArray1<[f32; 3]> =
        ndshm::SharedArray::open_path(stage.root.path().join("other/xs.ndshm")).unwrap();
    assert_eq!(copy.to_ndarray().unwrap(), triples.to_ndarray().unwrap());
}

#[test]
fn an_array_larger_than_a_piece_is_copied_piece_by_piece() {
    let stage = Stage::new();
    let xs = stage
        .run
        .options()
        .name("xs")
        .from_shape_fn::<u32, _>(9_000_001, |i| i as u32)
        .unwrap();
    stage.ndshm("cp xs ys").success();
    assert_eq!(
        stage
            .run
            .array::<u32, Ix1>("ys")
            .unwrap()
            .to_ndarray()
            .unwrap(),
        xs.to_ndarray().unwrap()
    );
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let stage = Stage::new();
    stage.counting("xs", &[10]);
    crate::stage::a_writer(&stage).kill();
    let (line, code) = stage.failure("cp xs ys");
    assert!(code == 4 && line.contains("ndshm recover"), "{line}");
    assert!(!stage.run.contains("ys").unwrap());
    assert_eq!(stage.failure("cp 'xs[5:]' xs").1, 4);
}
