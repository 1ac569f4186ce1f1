//! `rm`.

use crate::stage::{Stage, a_dead_store, a_writer};
use ndshm::Scope;

#[test]
fn arrays_are_deleted_but_not_under_the_hands_of_others() {
    let stage = Stage::new();
    let xs = stage.counting("xs", &[6]);
    stage.counting("ys", &[6]);
    stage.ndshm("rm ys").success().stdout_eq("");
    assert!(!stage.run.contains("ys").unwrap());
    let writer = a_writer(&stage);
    let (line, code) = stage.failure("rm xs");
    assert!(
        code == 4 && line.contains("holds a guard on it; --force"),
        "{line}"
    );
    writer.finish();
    xs.set_scope(Scope::Store).unwrap();
    let owned = stage
        .run
        .options()
        .name("owned")
        .scope(Scope::Local)
        .zeros::<f64, _>(3)
        .unwrap();
    assert!(stage.failure("rm owned").0.contains("owns it, and lives"));
    stage.ndshm("rm --force owned xs").success();
    assert!(stage.run.list().unwrap().is_empty());
    // Who has it open can go on.
    assert_eq!(owned.read().unwrap().sum(), 0.0);
    assert_eq!(stage.failure("rm xs[0]").1, 3);
    let (line, code) = stage.failure("rm run");
    assert!(
        code == 3 && line.contains("it is a store: --whole-store"),
        "{line}"
    );
}

#[test]
fn stores_are_deleted_if_nobody_uses_them() {
    let stage = Stage::new();
    a_dead_store(&stage);
    stage.ndshm("rm --whole-store dead").success();
    assert!(!stage.root.path().join("dead").exists());
    let (line, code) = stage.failure("rm -r run");
    assert!(code == 4 && line.contains("living member"), "{line}");
    let ephemeral = stage.root.manager();
    assert!(
        stage
            .failure(&format!("rm --force -r {}", ephemeral.path().display()))
            .0
            .contains("goes with the process that made it")
    );
    stage.ndshm("rm --force -r run").success();
    assert!(!stage.run.path().exists());
}
