//! `verify`.

use crate::stage::Stage;
use snapbox::str;
use std::{fs::File, os::unix::fs::FileExt};

#[test]
fn what_is_sound_is_told_so() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    stage.counting("ys", &[600]);
    for what in ["", "run", "--store run"] {
        stage
            .ndshm(&format!("verify {what}"))
            .success()
            .stdout_eq(str![[r#"
2 arrays, [..]iB: sound

"#]]);
    }
    stage.ndshm("verify xs").success().stdout_eq(str![[r#"
1 array, [..]KiB: sound

"#]]);
    let json = stage.json("verify run");
    assert_eq!(
        (
            &json[0]["sound"],
            &json[0]["arrays"],
            json[0]["findings"].to_string()
        ),
        (&true.into(), &2.into(), "[]".to_owned())
    );
}

#[test]
fn damage_is_told_with_the_file_and_gives_an_exit_code() {
    let stage = Stage::new();
    stage.counting("xs", &[6]);
    stage.counting("ys", &[6]);
    let path = stage.run.path().join("xs.ndshm");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"?", 0).unwrap();
    for what in [
        "verify".to_owned(),
        "verify run".to_owned(),
        format!("verify {}", path.display()),
    ] {
        let output = stage.ndshm(&what).code(5).get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        assert!(
            text.contains("xs.ndshm: ")
                && text.ends_with(": 1 damage\n")
                && !text.contains("ys.ndshm"),
            "{text}"
        );
    }
    let output = stage
        .ndshm("--json verify")
        .code(5)
        .get_output()
        .stdout
        .clone();
    let json: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(
        (
            &json[0]["sound"],
            json[0]["findings"].as_array().unwrap().len()
        ),
        (&false.into(), 1)
    );
    stage.ndshm("verify ys").success();
}

#[test]
fn what_is_not_there_is_told_so() {
    let stage = Stage::new();
    assert_eq!(stage.failure("verify nothing").1, 3);
    assert_eq!(stage.failure("verify run/nothing").1, 3);
    assert_eq!(stage.failure("verify --store nowhere").1, 3);
}
