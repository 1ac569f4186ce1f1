//! `mv`.

use crate::fixture::{Fixture, start_a_writer};
use ndarray::{Ix1, Ix2};
use ndshm::{Handle, Scope};

#[test]
fn an_array_gets_another_name_and_replaces_none_without_force() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[4]);
    fixture.arange("ys", &[5]);
    let handle: Handle = fixture.output("handle xs").trim().parse().unwrap();
    let (line, code) = fixture.failure("mv xs ys");
    assert!(code == 4 && line.contains("--force replaces it"), "{line}");
    assert_eq!(fixture.failure("mv xs xs").1, 4);
    assert_eq!(fixture.failure("mv zs new").1, 3);
    for command in ["mv xs[0] new", "mv xs ''", "mv xs .hidden", "cp xs ''"] {
        assert_eq!(fixture.failure(command).1, 2, "{command}");
    }
    assert!(fixture.output("mv xs zs").ends_with("/run/zs.ndshm\n"));
    assert_eq!(
        handle.open::<f64, Ix1>().unwrap().read().unwrap().sum(),
        6.0
    );
    let moved = fixture.json("mv --force zs ys");
    assert!(
        moved[0]["from"].as_str().unwrap().ends_with("/zs.ndshm")
            && moved[0]["path"].as_str().unwrap().ends_with("/ys.ndshm"),
        "{moved}"
    );
    let ys = fixture.run.array::<f64, Ix1>("ys").unwrap();
    assert_eq!((ys.id(), ys.len()), (xs.id(), 4));
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn an_array_without_a_name_gets_one_by_its_id() {
    let fixture = Fixture::new();
    let unnamed = fixture
        .run
        .options()
        .scope(Scope::Store)
        .zeros::<f64, _>(7)
        .unwrap();
    fixture
        .ndshm(&format!("mv {} named", unnamed.id()))
        .success();
    assert_eq!(fixture.run.array::<f64, Ix1>("named").unwrap().len(), 7);
}

#[test]
fn arrays_move_into_another_store_with_all_that_belongs_to_them() {
    let fixture = Fixture::new();
    fixture
        .ndshm("new ys f4 3,2 --fill 7 --attr unit=m --axes t,x")
        .success();
    fixture.ndshm("freeze ys").success();
    fixture.arange("frame-1", &[3]);
    fixture.arange("frame-2", &[3]);
    fixture.ndshm("new other/one u8 1 --create-store").success();
    fixture.ndshm("mv ys other/zs").success();
    assert!(!fixture.run.contains("ys").unwrap());
    let json = fixture.json("show other/zs");
    assert_eq!(
        (
            json["attributes"]["unit"].as_str(),
            json["axis_names"][0].as_str(),
            json["frozen"].as_bool(),
            json["scope"].as_str()
        ),
        (Some("m"), Some("t"), Some(true), Some("store"))
    );
    let other = ndshm::Manager::open(fixture.root.path().join("other")).unwrap();
    assert_eq!(
        other.array::<f32, Ix2>("zs").unwrap().read().unwrap().sum(),
        42.0
    );
    // One name is taken, so none of the arrays is moved.
    other.options().name("frame-2").zeros::<f64, _>(1).unwrap();
    assert_eq!(fixture.failure("mv 'run/frame-*' other/").1, 4);
    assert!(!other.contains("frame-1").unwrap());
    assert_eq!(
        fixture
            .output("mv --force 'run/frame-*' other/")
            .lines()
            .count(),
        2
    );
    assert!(fixture.run.list().unwrap().is_empty());
    assert_eq!(other.array::<f64, Ix1>("frame-2").unwrap().len(), 3);
}

#[test]
fn no_array_leaves_its_store_while_processes_use_it() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.ndshm("new other/one u8 1 --create-store").success();
    fixture
        .run
        .options()
        .name("ring")
        .ring::<f64, _>(2, 2)
        .unwrap();
    fixture
        .run
        .options()
        .name("log")
        .growing::<f64, _>(100, ())
        .unwrap();
    let owned = fixture.run.options().name("owned").scope(Scope::Local);
    let _owned = owned.zeros::<f64, _>(3).unwrap();
    let writer = start_a_writer(&fixture);
    for (command, words) in [
        ("mv xs other/", "holds a guard on it; --force moves it"),
        ("mv owned other/", "owns it; --force moves it"),
        ("mv ring other/", "it is a ring, which stays"),
        ("mv log other/", "it grows"),
    ] {
        let (line, code) = fixture.failure(command);
        assert!(code == 4 && line.contains(words), "{command}: {line}");
    }
    // The name is no business of processes that use the array.
    fixture.ndshm("mv ring ring-2").success();
    fixture.ndshm("mv xs xs-2").success();
    writer.finish();
    fixture.ndshm("freeze log").success();
    fixture.ndshm("mv log other/log").success();
    assert_eq!(fixture.json("show other/log")["kind"], "growing array");
}
