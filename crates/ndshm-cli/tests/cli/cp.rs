//! `cp`.

use crate::fixture::Fixture;
use ndarray::{Ix1, Ix2, array};

#[test]
fn a_part_is_copied_with_attributes_into_a_new_array() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4, 5]);
    fixture.ndshm("cp 'xs[1:3, ::-2]' part").success();
    let part = fixture.run.array::<f64, Ix2>("part").unwrap();
    assert_eq!(
        part.to_ndarray().unwrap(),
        array![[9., 7., 5.], [14., 12., 10.]]
    );
    assert_eq!(part.scope(), ndshm::Scope::Store);
    fixture
        .ndshm("new ys u8 3 --fill 7 --attr unit=m --axes t")
        .success();
    fixture.ndshm("cp ys zs --freeze").success();
    let json = fixture.json("show zs");
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
    let fixture = Fixture::new();
    let triples = fixture
        .run
        .options()
        .name("xs")
        .from_shape_fn::<[f32; 3], _>(1000, |i| [i as f32; 3])
        .unwrap();
    fixture.ndshm("new other/one u8 1 --create-store").success();
    fixture.ndshm("cp run/xs other/xs").success();
    let copy: ndshm::SharedArray1<[f32; 3]> =
        ndshm::SharedArray::open_path(fixture.root.path().join("other/xs.ndshm")).unwrap();
    assert_eq!(copy.to_ndarray().unwrap(), triples.to_ndarray().unwrap());
}

#[test]
fn an_array_larger_than_a_piece_is_copied_piece_by_piece() {
    let fixture = Fixture::new();
    let xs = fixture
        .run
        .options()
        .name("xs")
        .from_shape_fn::<u32, _>(9_000_001, |i| i as u32)
        .unwrap();
    fixture.ndshm("cp xs ys").success();
    assert_eq!(
        fixture
            .run
            .array::<u32, Ix1>("ys")
            .unwrap()
            .to_ndarray()
            .unwrap(),
        xs.to_ndarray().unwrap()
    );
}

/// Another process found a copy by its name before its elements were there.
#[test]
fn a_copy_has_its_name_when_it_is_complete() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    let writer = crate::fixture::start_a_writer(&fixture);
    let mut copy = std::process::Command::new(snapbox::cmd::cargo_bin!("ndshm"))
        .args(["cp", "xs", "ys", "--wait", "inf"])
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while fixture.run.list().unwrap().len() < 2 {
        assert!(copy.try_wait().unwrap().is_none(), "the copy has ended");
        std::thread::yield_now();
    }
    assert!(!fixture.run.contains("ys").unwrap());
    writer.finish();
    assert!(copy.wait().unwrap().success());
    let ys = fixture.run.array::<f64, Ix1>("ys").unwrap();
    assert_eq!(
        (ys.read().unwrap().sum(), ys.scope()),
        (45.0, ndshm::Scope::Store)
    );
    assert_eq!(fixture.run.list().unwrap().len(), 2);
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[10]);
    crate::fixture::start_a_writer(&fixture).kill();
    let (line, code) = fixture.failure("cp xs ys");
    assert!(code == 4 && line.contains("ndshm recover"), "{line}");
    assert!(!fixture.run.contains("ys").unwrap());
    assert_eq!(fixture.failure("cp 'xs[5:]' xs").1, 4);
}
