//! `rm`.

use crate::fixture::{Fixture, leave_a_dead_store, start_a_writer};
use ndshm::Scope;

#[test]
fn arrays_are_deleted_unless_other_processes_use_them() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[6]);
    fixture.arange("ys", &[6]);
    fixture.ndshm("rm ys").success().stdout_eq("");
    assert!(!fixture.run.contains("ys").unwrap());
    let writer = start_a_writer(&fixture);
    let (line, code) = fixture.failure("rm xs");
    assert!(
        code == 4 && line.contains("holds a guard on it; --force"),
        "{line}"
    );
    writer.finish();
    xs.set_scope(Scope::Store).unwrap();
    let owned = fixture
        .run
        .options()
        .name("owned")
        .scope(Scope::Local)
        .zeros::<f64, _>(3)
        .unwrap();
    assert!(
        fixture
            .failure("rm owned")
            .0
            .contains("which is alive, owns it")
    );
    fixture.ndshm("rm --force owned xs").success();
    assert!(fixture.run.list().unwrap().is_empty());
    // A process that has it open can still use it.
    assert_eq!(owned.read().unwrap().sum(), 0.0);
    assert_eq!(fixture.failure("rm xs[0]").1, 3);
    let (line, code) = fixture.failure("rm run");
    assert!(
        code == 3 && line.contains("it is a store; --whole-store"),
        "{line}"
    );
}

#[test]
fn stores_are_deleted_if_no_process_uses_them() {
    let fixture = Fixture::new();
    leave_a_dead_store(&fixture);
    fixture.ndshm("rm --whole-store dead").success();
    assert!(!fixture.root.path().join("dead").exists());
    let (line, code) = fixture.failure("rm -r run");
    assert!(code == 4 && line.contains("living member"), "{line}");
    let ephemeral = fixture.root.manager();
    assert!(
        fixture
            .failure(&format!("rm --force -r {}", ephemeral.path().display()))
            .0
            .contains("ends with the process that made it")
    );
    fixture.ndshm("rm --force -r run").success();
    assert!(!fixture.run.path().exists());
}

/// `rm a missing` deleted `a`, and then said that there is no `missing`: a mistyped name in a list
/// is a mistake in the whole list.
#[test]
fn nothing_is_deleted_or_frozen_unless_all_names_are_right() {
    let fixture = Fixture::new();
    fixture.arange("a", &[6]);
    fixture.arange("xs", &[6]);
    std::fs::write(fixture.run.path().join("bad.ndshm"), "no array").unwrap();
    let writer = start_a_writer(&fixture);
    for (command, code) in [
        ("rm a missing", 3),
        ("rm a xs", 4),
        ("rm a bad", 5),
        ("rm a a[0]", 2),
        ("rm a --whole-store missing", 3),
        ("rm a --whole-store run", 4),
        ("freeze a missing", 3),
        ("freeze a bad", 5),
        ("freeze a xs[0]", 2),
        ("export a missing -o /dev/null --format npz", 3),
    ] {
        let (line, found) = fixture.failure(command);
        assert_eq!(found, code, "{command}: {line}");
        assert!(fixture.run.contains("a").unwrap(), "{command}");
        let a = fixture.run.array::<f64, ndarray::Ix1>("a").unwrap();
        assert!(!a.is_frozen() && a.read().unwrap()[5] == 5.0, "{command}");
    }
    writer.finish();
    fixture.ndshm("rm a a xs").success();
    assert!(!fixture.run.contains("a").unwrap() && !fixture.run.contains("xs").unwrap());
}
