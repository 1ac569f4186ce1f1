//! `verify`.

use crate::fixture::Fixture;
use snapbox::str;
use std::{fs::File, os::unix::fs::FileExt};

#[test]
fn sound_stores_and_arrays_are_reported_as_sound() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.arange("ys", &[600]);
    for what in ["", "run", "--store run"] {
        fixture
            .ndshm(&format!("verify {what}"))
            .success()
            .stdout_eq(str![[r#"
2 arrays, [..]iB: sound

"#]]);
    }
    fixture.ndshm("verify xs").success().stdout_eq(str![[r#"
1 array, [..]KiB: sound

"#]]);
    let json = fixture.json("verify run");
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
fn damage_is_reported_with_the_file_and_an_exit_code() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[6]);
    fixture.arange("ys", &[6]);
    let path = fixture.run.path().join("xs.ndshm");
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"?", 0).unwrap();
    for what in [
        "verify".to_owned(),
        "verify run".to_owned(),
        format!("verify {}", path.display()),
    ] {
        let output = fixture.ndshm(&what).code(5).get_output().stdout.clone();
        let text = String::from_utf8(output).unwrap();
        assert!(
            text.contains("xs.ndshm: ")
                && text.ends_with(": 1 damage\n")
                && !text.contains("ys.ndshm"),
            "{text}"
        );
    }
    let output = fixture
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
    fixture.ndshm("verify ys").success();
}

#[test]
fn a_missing_array_or_store_is_reported() {
    let fixture = Fixture::new();
    assert_eq!(fixture.failure("verify nothing").1, 3);
    assert_eq!(fixture.failure("verify run/nothing").1, 3);
    assert_eq!(fixture.failure("verify --store nowhere").1, 3);
}
