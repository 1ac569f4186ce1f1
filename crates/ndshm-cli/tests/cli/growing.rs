//! Arrays that grow in all commands.

use crate::fixture::Fixture;
use ndarray::{Ix2, array};
use ndshm::GrowingArray;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

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
    let log = log.unwrap();
    assert!(fixture.output("show log").contains("(0,)"));
    fixture.ndshm("freeze log").success();
    assert!(log.is_frozen());
    let (line, _) = fixture.failure("recover log --keep");
    assert!(
        line.contains("an array that grows, whose rows never change"),
        "{line}"
    );
    let (line, _) = fixture.failure("show --follow log");
    assert!(line.contains("only a ring has frames to follow"), "{line}");
    fixture.ndshm("rm log").success();
}

#[test]
fn the_last_rows_are_shown_and_followed_until_the_growth_ends() {
    let fixture = Fixture::new();
    let log = log(&fixture);
    assert_eq!(
        fixture.output("tail log"),
        "0  [1. 2.]\n1  [3. 4.]\n2  [5. 6.]\n"
    );
    assert_eq!(fixture.output("tail log -n 1"), "2  [5. 6.]\n");
    assert_eq!(fixture.output("tail log -n 0"), "");
    let mut following = Command::new(snapbox::cmd::cargo_bin!("ndshm"))
        .args(["tail", "log", "-n", "1", "--follow"])
        .env("NDSHM_ROOT", fixture.root.path())
        .env_remove("NDSHM_STORE")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || lines.next().map(Result::unwrap);
    assert_eq!(next().unwrap(), "2  [5. 6.]");
    for row in 3..20 {
        log.append_row(&array![f64::from(row), 0.5]).unwrap();
        let line = next().unwrap();
        assert!(line.trim_start().starts_with(&row.to_string()), "{line}");
    }
    log.freeze().unwrap();
    assert_eq!(next(), None);
    assert!(following.wait().unwrap().success());
    let frames = fixture
        .run
        .options()
        .name("cubes")
        .growing::<u8, _>(10, (2, 2))
        .unwrap();
    frames.append(&ndarray::arr3(&[[[1, 2], [3, 4]]])).unwrap();
    assert_eq!(fixture.output("tail cubes"), "0  [[1 2]\n    [3 4]]\n");
    fixture.arange("xs", &[3]);
    let (line, _) = fixture.failure("tail xs");
    assert!(line.contains("only an array that grows"), "{line}");
}

#[test]
fn rows_of_files_and_pipes_are_appended() {
    let fixture = Fixture::new();
    let log = log(&fixture);
    let file = |name: &str| fixture.root.path().join(name);
    fixture
        .ndshm(&format!("export log -o {}", file("rows.npy").display()))
        .success();
    fixture
        .ndshm(&format!("append log {}", file("rows.npy").display()))
        .success();
    assert_eq!(log.len(), 6);
    assert_eq!(log.rows(3..).unwrap().sum(), 21.0);
    // Raw rows through a pipe, and one that is no whole row at the end.
    let raw: Vec<u8> = [7.0f64, 8.0, 9.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let assert = fixture
        .command("append log -")
        .stdin(raw)
        .assert()
        .failure();
    let line = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(
        line.contains("8 bytes at the end are no row, which has 16"),
        "{line}"
    );
    assert_eq!((log.len(), log.rows(6..).unwrap().sum()), (7, 15.0));
    fixture.arange("xs", &[2, 3]);
    fixture
        .ndshm(&format!("export xs -o {}", file("xs.npy").display()))
        .success();
    let (line, _) = fixture.failure(&format!("append log {}", file("xs.npy").display()));
    assert!(line.contains("a row of the array is <f8 [2]"), "{line}");
    let (line, _) = fixture.failure("append xs -");
    assert!(line.contains("only an array that grows"), "{line}");
    assert_eq!(log.len(), 7);
    // Nothing of the imports is left.
    assert_eq!(fixture.run.list().unwrap().len(), 2);
}
