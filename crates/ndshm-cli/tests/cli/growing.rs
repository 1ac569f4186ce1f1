//! Arrays that grow in all commands.

use crate::fixture::Fixture;
use ndarray::{Ix2, array};
use ndshm::GrowingArray;

fn log(fixture: &Fixture) -> GrowingArray<f64, Ix2> {
    let log = fixture
        .run
        .options()
        .name("log")
        .growing(1 << 30, 2)
        .unwrap();
    log.append(&array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        .unwrap();
    log
}

#[test]
fn the_rows_of_an_array_that_grows_are_listed_shown_and_exported() {
    let fixture = Fixture::new();
    let log = log(&fixture);
    let list = fixture.output("ls");
    assert!(
        list.contains("(3, 2)") && list.contains("growing array"),
        "{list}"
    );
    let shown = fixture.output("show log");
    assert!(shown.contains("log  <f8 (3, 2), 48 B"), "{shown}");
    assert!(shown.contains("[[1. 2.]\n [3. 4.]\n [5. 6.]]"), "{shown}");
    assert!(shown.contains("min 1.  max 6.  mean 3.5"), "{shown}");
    log.append_row(&array![7.0, 8.0]).unwrap();
    assert!(fixture.output("show --quick log[-1]").contains("[7. 8.]"));
    assert_eq!(fixture.json("show log")["kind"], "growing array");
    let file = fixture.root.path().join("log.npy");
    fixture
        .ndshm(&format!("export log -o {}", file.display()))
        .success();
    assert!(
        std::fs::read(&file)
            .unwrap()
            .ends_with(&8.0f64.to_le_bytes())
    );
    fixture.ndshm("cp log copy").success();
    assert_eq!(
        fixture.json("show copy")["shape"],
        serde_json::json!([4, 2])
    );
    fixture.ndshm("verify run").success();
    fixture.ndshm("rm log").success();
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

#[test]
fn an_array_without_rows_is_shown_and_commands_that_write_are_refused() {
    let fixture = Fixture::new();
    let log = fixture.run.options().name("log").growing::<u8, _>(10, ());
    let _log = log.unwrap();
    assert!(fixture.output("show log").contains("(0,)"));
    let (line, _) = fixture.failure("freeze log");
    assert!(
        line.contains("an array that grows, whose rows never change"),
        "{line}"
    );
    let (line, _) = fixture.failure("show --follow log");
    assert!(line.contains("only a ring has frames to follow"), "{line}");
    fixture.ndshm("rm log").success();
}
