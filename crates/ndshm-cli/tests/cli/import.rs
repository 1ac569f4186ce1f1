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
            &json[0]["name"],
            &json[0]["dtype"],
            json[0]["shape"].to_string()
        ),
        (&"t-xs".into(), &"<f8".into(), "[3]".to_owned())
    );
    assert!(json[0]["handle"].as_str().unwrap().starts_with("ndshm1:"));
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
