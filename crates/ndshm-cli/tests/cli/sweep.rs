//! `sweep`.

use crate::fixture::{Fixture, leave_a_dead_store};
use snapbox::str;

#[test]
fn a_dry_run_lists_the_leftovers_that_a_sweep_then_deletes() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    leave_a_dead_store(&fixture);
    fixture
        .ndshm("sweep --dry-run")
        .success()
        .stdout_eq(str![[r#"
[..]/dead  store with 1 array, 12 KiB
would delete 1 thing, 12 KiB

"#]]);
    assert!(fixture.root.path().join("dead").exists());
    fixture.ndshm("sweep").success().stdout_eq(str![[r#"
[..]/dead  store with 1 array, 12 KiB
deleted 1 store and 1 array, 12 KiB

"#]]);
    assert!(!fixture.root.path().join("dead").exists() && fixture.run.contains("xs").unwrap());
    assert_eq!(fixture.json("sweep")["found"].to_string(), "[]");
}

#[test]
fn arrays_of_dead_processes_are_deleted_from_stores_with_living_ones() {
    let fixture = Fixture::new();
    let mut peer = crate::common::Peer::start(
        crate::sweep::child_with_an_array,
        &[fixture.run.path().to_str().unwrap()],
    );
    peer.hear("ready");
    assert_eq!(fixture.json("sweep -n")["found"].to_string(), "[]");
    peer.kill();
    let found = fixture.json("sweep -n --store run")["found"].clone();
    assert_eq!(
        (
            found[0]["store"].as_bool(),
            found[0]["arrays"].as_u64(),
            found.as_array().unwrap().len()
        ),
        (Some(false), Some(1), 1),
        "{found}"
    );
    assert_eq!(fixture.json("sweep")["swept"]["arrays"], 1);
    assert_eq!(fixture.run.list().unwrap().len(), 0);
}

#[test]
#[ignore = "started by another test"]
pub(crate) fn child_with_an_array() {
    let manager = ndshm::Manager::open(crate::common::arguments().remove(0)).unwrap();
    let _left = manager.zeros::<f64, _>(1000).unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    crate::common::done();
}

#[test]
fn a_leftover_that_cannot_be_deleted_is_reported_with_an_exit_code() {
    let fixture = Fixture::new();
    leave_a_dead_store(&fixture);
    std::fs::write(fixture.root.path().join("dead/notes.txt"), "mine").unwrap();
    let assert = fixture.ndshm("sweep").code(1);
    let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(
        line.starts_with("ndshm: not deleted: ")
            && line.contains("notes.txt is not the store's: move it away"),
        "{line}"
    );
    assert!(fixture.root.path().join("dead/notes.txt").exists());
}

/// A dry run used to announce that a dead store with files of others goes as a whole. A sweep
/// leaves that store, and deletes the arrays of dead owners in it.
#[test]
fn a_dead_store_with_files_of_others_stays_and_its_dead_arrays_are_announced() {
    let fixture = Fixture::new();
    leave_a_dead_store(&fixture);
    let notes = fixture.root.path().join("dead/notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    for dry_run in ["sweep -n", "sweep -n --store dead"] {
        let found = fixture.json(dry_run)["found"].clone();
        assert_eq!(found.as_array().unwrap().len(), 1, "{dry_run}: {found}");
        assert_eq!(found[0]["store"], false, "{dry_run}: {found}");
    }
    for sweep in ["sweep", "sweep --store dead"] {
        let assert = fixture.ndshm(sweep).code(1);
        let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(
            line.contains("notes.txt is not the store's"),
            "{sweep}: {line}"
        );
        assert_eq!(
            fixture.json("sweep -n")["found"].to_string(),
            "[]",
            "{sweep}"
        );
    }
    std::fs::remove_file(&notes).unwrap();
    let found = fixture.json("sweep -n --store dead")["found"].clone();
    assert_eq!(found[0]["store"], true, "{found}");
    fixture.ndshm("sweep --store dead").success();
    assert!(!fixture.root.path().join("dead").exists());
}
