//! `checkpoint` and `restore`.

use crate::fixture::Fixture;
use std::{fs, path::PathBuf};

fn place(fixture: &Fixture) -> PathBuf {
    fixture.root.path().join("checkpoints")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_checkpoint_comes_back_whole_and_in_parts() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3, 4]);
    fixture.arange("ys", &[5]);
    let place = place(&fixture);
    let place = place.display();
    let first = fixture.output(&format!("checkpoint run {place}"));
    assert!(
        first.contains("2 arrays") && first.contains(" sent"),
        "{first}"
    );
    let second = fixture.output(&format!("--json checkpoint run {place} --keep 1 --only xs"));
    let second = json(&second);
    assert_eq!((&second["arrays"], &second["sent"]), (&1.into(), &0.into()));
    assert_eq!(second["deleted"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&second["latest"], &second["compared"]),
        (&true.into(), &true.into())
    );

    let restored = fixture.output(&format!("--json restore {place} back --create-store"));
    assert_eq!(json(&restored)["arrays"], serde_json::json!(["xs"]));
    assert_eq!(json(&restored)["checkpoint"], second["checkpoint"]);
    fixture.ndshm("diff run/xs back/xs").success();
    fixture.output(&format!(
        "restore {place} back --prefix part. --slice 'xs[1:3, 0:2]'"
    ));
    fixture
        .ndshm("diff 'run/xs[1:3, :2]' back/part.xs")
        .success();
    fixture.output("rm --whole-store back --force");
}

#[test]
fn the_arrays_of_a_checkpoint_are_listed_without_a_store() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3, 4]);
    fixture.arange("ys", &[5]).freeze().unwrap();
    let place = place(&fixture);
    let place = place.display();
    fixture.output(&format!("checkpoint run {place}"));
    let shown = fixture.output(&format!("restore {place} --list"));
    assert!(shown.contains("2 arrays"), "{shown}");
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["NAME", "DTYPE", "SHAPE", "SIZE", "STATE"]);
    assert_eq!((rows[1][0], rows[2][0]), ("xs", "ys"));
    assert_eq!(rows[2].last(), Some(&"frozen"), "{shown}");
    let listed = json(&fixture.output(&format!("--json restore {place} --list --only xs")));
    let arrays = listed["arrays"].as_array().unwrap();
    assert_eq!(arrays.len(), 1);
    assert_eq!(arrays[0]["name"], "xs");
    assert_eq!(arrays[0]["shape"], serde_json::json!([3, 4]));
    assert_eq!(arrays[0]["bytes"], 96);
    let part = fixture.output(&format!(
        "--json restore {place} --list --slice 'xs[1:3, 0:2]'"
    ));
    assert_eq!(json(&part)["arrays"][0]["shape"], serde_json::json!([2, 2]));
    // Checkpoints that are not listed are named.
    let first = listed["checkpoint"].as_str().unwrap();
    assert_eq!(listed["checkpoints"], serde_json::json!([first]));
    assert!(!shown.contains("another checkpoint"), "{shown}");
    let second = json(&fixture.output(&format!("--json checkpoint run {place}")));
    let listed = json(&fixture.output(&format!("--json restore {place} --list")));
    assert_eq!(
        listed["checkpoints"],
        serde_json::json!([second["checkpoint"], first])
    );
    let shown = fixture.output(&format!("restore {place} --list"));
    assert!(
        shown.ends_with(&format!("{first}: another checkpoint\n")),
        "{shown}"
    );
    // Without a list there is a store, and only then.
    fixture.ndshm(&format!("restore {place}")).code(2);
    fixture
        .ndshm(&format!("restore {place} run --list"))
        .code(2);
}

#[test]
fn structs_zstd_and_shards_are_options() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[300]);
    for (number, options) in ["--zstd 3", "--shards 1", "--structs struct --each"]
        .iter()
        .enumerate()
    {
        let place = place(&fixture).join(number.to_string());
        let place = place.display();
        fixture.output(&format!("checkpoint run {place} {options}"));
        fixture.output(&format!("restore {place} run --prefix {number}."));
        fixture
            .ndshm(&format!("diff run/xs run/{number}.xs"))
            .success();
    }
}

#[test]
fn refusals_say_what_to_do() {
    let fixture = Fixture::new();
    let xs = fixture.arange("xs", &[3, 4]);
    let place = place(&fixture);
    let shown = place.display();
    for (arguments, expected, code) in [
        (format!("restore {shown} run"), "no latest checkpoint", 1),
        (format!("checkpoint nowhere {shown}"), "no such store", 3),
        (
            format!("checkpoint run {shown} --only zs"),
            "the keys are",
            1,
        ),
        ("checkpoint run ftp://host/x".into(), "s3://BUCKET", 2),
        (
            format!("restore {shown} run --slice xs"),
            "xs[0:10, 5:20]",
            2,
        ),
    ] {
        let (line, found) = fixture.failure(&arguments);
        assert_eq!(found, code, "{arguments}: {line}");
        assert!(line.contains(expected), "{arguments}: {line}");
    }
    assert!(!place.exists());
    xs.write().unwrap().poison();
    let (line, code) = fixture.failure(&format!("checkpoint run {shown}"));
    assert_eq!(code, 4, "{line}");
    assert!(line.contains("--poisoned"), "{line}");
    fixture.output(&format!("checkpoint run {shown} --poisoned"));
    let (line, code) = fixture.failure(&format!("restore {shown} run"));
    assert_eq!(code, 4, "{line}");
    assert!(line.contains("already exists"), "{line}");
    assert!(fs::read_dir(&place).unwrap().count() >= 2);
}
