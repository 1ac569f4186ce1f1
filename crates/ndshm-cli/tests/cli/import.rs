//! `import`.

use crate::fixture::Fixture;
use ndarray::Ix1;
use std::path::PathBuf;

fn file(fixture: &Fixture, name: &str) -> PathBuf {
    fixture.root.path().join(name)
}

fn import(fixture: &Fixture, file: &str, more: &str) -> String {
    format!(
        "import {} --store run {more}",
        fixture.root.path().join(file).display()
    )
}

#[test]
fn files_of_every_format_become_arrays_named_after_the_file_or_its_keys() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    for name in ["a.npy", "a.npz", "a.safetensors", "a.raw"] {
        fixture
            .command("export xs -o")
            .arg(file(&fixture, name))
            .assert()
            .success();
    }
    let path = fixture.output(&import(&fixture, "a.npy", ""));
    assert_eq!(
        path.trim(),
        fixture.run.path().join("a.ndshm").to_str().unwrap()
    );
    fixture
        .ndshm(&import(&fixture, "a.npz", "--name z-"))
        .success();
    fixture
        .ndshm(&import(
            &fixture,
            "a.raw",
            "--dtype f64 --shape 3 --name raw",
        ))
        .success();
    let json = fixture.json(&import(&fixture, "a.safetensors", "--name t-"));
    assert_eq!(
        (
            &json["arrays"][0]["name"],
            &json["arrays"][0]["dtype"],
            json["arrays"][0]["shape"].to_string()
        ),
        (&"t-xs".into(), &"<f8".into(), "[3]".to_owned())
    );
    assert!(
        json["arrays"][0]["handle"]
            .as_str()
            .unwrap()
            .starts_with("ndshm1:")
    );
    for name in ["a", "raw", "t-xs", "z-xs"] {
        let read = fixture
            .run
            .array::<f64, Ix1>(name)
            .unwrap()
            .to_ndarray()
            .unwrap();
        assert_eq!(read.to_vec(), [0.0, 1.0, 2.0], "{name}");
    }
}

#[test]
fn a_missing_or_invalid_file_is_refused_and_makes_no_array() {
    let fixture = Fixture::new();
    fixture.arange("xs", &[3]);
    fixture
        .command("export xs -o")
        .arg(file(&fixture, "a.npy"))
        .assert()
        .success();
    let whole = std::fs::read(file(&fixture, "a.npy")).unwrap();
    std::fs::write(file(&fixture, "short.npy"), &whole[..whole.len() - 1]).unwrap();
    std::fs::write(file(&fixture, "none.npz"), "none").unwrap();
    std::fs::write(file(&fixture, "a.raw"), [0; 24]).unwrap();
    std::fs::write(file(&fixture, "a.txt"), "").unwrap();
    for (name, more, reason, code) in [
        ("short.npy", "", "it is cut off", 1),
        ("none.npz", "", "none.npz", 1),
        ("nowhere.npy", "", "nowhere.npy", 1),
        ("a.raw", "", "give --dtype '<f8' --shape 480,640", 2),
        ("a.raw", "--dtype <f8 --shape 4", "a.raw", 1),
        ("a.raw", "--dtype f9 --shape 3", "f9", 2),
        ("a.txt", "", "name it .npy, .npz, .safetensors or .raw", 2),
        ("a.npy", "--name xs", "xs", 4),
    ] {
        let failure = fixture.failure(&import(&fixture, name, more));
        assert!(
            failure.0.contains(reason) && failure.1 == code,
            "{name} {more}: {failure:?}"
        );
    }
    assert_eq!(fixture.run.list().unwrap().len(), 1);
}

/// One FP8 tensor refused a whole file, and so did a key with a slash.
#[test]
fn tensors_that_cannot_be_taken_are_left_on_request_and_listed() {
    let fixture = Fixture::new();
    let json = r#"{"__metadata__":{"format":"pt"},
        "a/w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
        "b/w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[2,3]},
        "c":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#;
    let bytes = [&json.len().to_le_bytes(), json.as_bytes(), &[1, 2, 3, 4]].concat();
    std::fs::write(file(&fixture, "x.safetensors"), bytes).unwrap();
    let (told, code) = fixture.failure(&import(&fixture, "x.safetensors", ""));
    assert_eq!(code, 1);
    assert!(
        told.contains("F8_E4M3") && told.contains("--skip-unsupported"),
        "{told}"
    );
    assert!(!told.contains("Import::"), "{told}");
    assert_eq!(fixture.run.list().unwrap().len(), 0);
    let (told, code) = fixture.failure(&import(&fixture, "x.safetensors", "--only d"));
    assert!(code == 1 && told.contains("no key is"), "{told}");

    let output = fixture.ndshm(&import(&fixture, "x.safetensors", "--skip-unsupported"));
    let output = output.success().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(r#"left "b/w": its element type "F8_E4M3""#),
        "{stderr}"
    );
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(
        names.contains("/a%2Fw.ndshm") && names.contains("/c.ndshm"),
        "{names}"
    );

    let more = "--name z- --skip-unsupported --only *w c";
    let json = fixture.json(&import(&fixture, "x.safetensors", more));
    assert_eq!(json["arrays"][0]["key"], "z-a/w");
    assert_eq!(json["arrays"].as_array().unwrap().len(), 2);
    assert_eq!(json["left"][0]["key"], "b/w");

    // From a stream it is the same.
    let bytes = std::fs::read(file(&fixture, "x.safetensors")).unwrap();
    let piped = |more: &str| {
        let command = format!("import - --store run {more}");
        fixture
            .command(&command)
            .stdin(bytes.clone())
            .output()
            .unwrap()
    };
    let output = piped("--name s- --skip-unsupported --only *w c");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(r#"left "b/w": "#), "{told}");
    let names = String::from_utf8(output.stdout).unwrap();
    assert!(names.contains("/s-a%2Fw.ndshm"), "{names}");
    assert!(names.contains("/s-c.ndshm"), "{names}");
    let output = piped("--only c --format npy --name n");
    assert_eq!(output.status.code(), Some(2), "{output:?}");

    let again = file(&fixture, "y.safetensors");
    let export = fixture.command("export a%2Fw c -o").arg(&again).assert();
    export.success();
    let bytes = std::fs::read(again).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..]);
    assert!(header.contains(r#""a/w":{"#), "{header}");
    assert!(
        header.contains(r#""__metadata__":{"format":"pt"}"#),
        "{header}"
    );
    let (told, code) = fixture.failure("import x.npy --store run --only x");
    assert!(code == 2 && told.contains("--only"), "{told}");
}
