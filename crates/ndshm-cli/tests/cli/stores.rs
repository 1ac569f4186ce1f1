//! `cp --recursive`, and copies between stores and roots.

use crate::{common, fixture::Fixture};
use ndarray::{Ix1, Ix2, ShapeBuilder};
use ndshm::{Manager, Order};
use std::{os::unix::fs::PermissionsExt, process::Stdio};

#[test]
fn a_store_is_copied_with_all_arrays_but_rings() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4, 5]);
    fixture
        .ndshm("new ys u8 3 --fill 7 --attr unit=m --axes t")
        .success();
    fixture.ndshm("freeze ys").success();
    let options = || fixture.run.options();
    let columns = options().name("columns").scope(ndshm::Scope::Local);
    let _columns = columns.zeros::<f32, _>((3, 2).f()).unwrap();
    let _unnamed = fixture.run.ones::<f64, _>(9).unwrap();
    options().name("ring").ring::<f64, _>(2, 2).unwrap();
    let log = options().name("log").growing::<f64, _>(100, 2).unwrap();
    log.append(&ndarray::array![[1., 2.], [3., 4.], [5., 6.]])
        .unwrap();
    let assert = fixture.ndshm("cp --recursive run again").success();
    let left = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(left.starts_with("left \"ring\": "), "{left}");
    let again = Manager::open(fixture.root.path().join("again")).unwrap();
    assert_eq!(again.list().unwrap().len(), 5);
    assert_eq!(
        again.array::<f64, Ix2>("xs").unwrap().to_ndarray().unwrap(),
        fixture
            .run
            .array::<f64, Ix2>("xs")
            .unwrap()
            .to_ndarray()
            .unwrap()
    );
    let ys = again.array::<u8, Ix1>("ys").unwrap();
    assert!(ys.is_frozen() && ys.axis_names()[0].as_deref() == Some("t"));
    assert_eq!(fixture.json("attrs again/ys")["attributes"]["unit"], "m");
    let columns = again.array_any("columns").unwrap();
    assert_eq!(
        (columns.order(), columns.scope()),
        (Some(Order::F), ndshm::Scope::Store)
    );
    let log = again.growing::<f64, Ix2>("log").unwrap();
    assert_eq!((log.len(), log.max_len(), log.is_frozen()), (3, 100, false));
    log.append(&ndarray::array![[7., 8.]]).unwrap();
    fixture.ndshm("verify again").success();
    let (line, code) = fixture.failure("cp -r run again");
    assert!(code == 4 && line.contains("already exists"), "{line}");
}

#[test]
fn a_store_is_copied_into_another_root_by_its_path() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4]);
    let there = common::Root::new();
    let path = there.path().join("copied").display().to_string();
    let json = fixture.json(&format!("cp -r run {path}"));
    assert_eq!(
        (&json["arrays"], &json["path"]),
        (&1.into(), &path.clone().into())
    );
    fixture.ndshm(&format!("cp xs {path}/ys")).success();
    fixture.ndshm(&format!("mv xs {path}/zs")).success();
    let copied = Manager::open(there.path().join("copied")).unwrap();
    let sum = |name: &str| {
        copied
            .array::<f64, Ix1>(name)
            .unwrap()
            .read()
            .unwrap()
            .sum()
    };
    assert_eq!((sum("xs"), sum("ys"), sum("zs")), (6.0, 6.0, 6.0));
    assert!(!fixture.run.contains("xs").unwrap());
    assert_eq!(fixture.failure("cp -r run nosuch/place").1, 3);
}

#[test]
fn a_damaged_store_is_not_copied() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[4]);
    let ys = fixture.arange("ys", &[4]);
    common::words::set(ys.path(), 68, 7);
    assert_eq!(fixture.failure("cp -r run again").1, 5);
    assert_eq!(std::fs::read_dir(fixture.root.path()).unwrap().count(), 1);
}

#[test]
fn a_copy_that_is_killed_leaves_no_store_of_the_name() {
    let fixture = Fixture::new();
    fixture.arange("a", &[4]);
    fixture.arange("xs", &[10]);
    // The copy waits for this guard, after it has copied the first array.
    let writer = crate::fixture::start_a_writer(&fixture);
    let mut copy = std::process::Command::new(snapbox::cmd::cargo_bin!("ndshm"))
        .args(["cp", "-r", "run", "again", "--wait", "inf"])
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let beside = fixture
        .root
        .path()
        .join(format!("again.copying-{}", copy.id()));
    let first = beside.join("a.ndshm");
    while !first.exists() {
        assert!(copy.try_wait().unwrap().is_none(), "the copy has ended");
        std::thread::yield_now();
    }
    assert!(!fixture.root.path().join("again").exists());
    copy.kill().unwrap();
    copy.wait().unwrap();
    assert!(!fixture.root.path().join("again").exists() && beside.exists());
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(fixture.root.path(), private).unwrap();
    fixture.ndshm("sweep").success();
    assert!(!beside.exists());
    writer.finish();
}

#[test]
fn arrays_are_copied_under_their_names_and_over_others_with_force() {
    let fixture = Fixture::new();
    fixture.arange("frame-1", &[3]);
    fixture.arange("frame-2", &[3]);
    fixture
        .ndshm("new other/frame-2 u8 1 --create-store")
        .success();
    let (line, code) = fixture.failure("cp 'run/frame-*' other/");
    assert!(code == 4 && line.contains("--force"), "{line}");
    let other = Manager::open(fixture.root.path().join("other")).unwrap();
    assert_eq!(other.list().unwrap().len(), 1);
    let json = fixture.json("cp --force 'run/frame-*' other/");
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(other.list().unwrap().len(), 2);
    assert_eq!(other.array::<f64, Ix1>("frame-2").unwrap().len(), 3);
    // A part of an array can take its place.
    fixture
        .ndshm("cp --force other/frame-2[1:] other/frame-2")
        .success();
    assert_eq!(other.array::<f64, Ix1>("frame-2").unwrap().len(), 2);
}
