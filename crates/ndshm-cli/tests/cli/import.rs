//! `import`.

use crate::stage::Stage;
use ndarray::Ix1;
use std::path::PathBuf;

fn file(stage: &Stage, name: &str) -> PathBuf {
    stage.root.path().join(name)
}

fn import(stage: &Stage, file: &str, more: &str) -> String {
    format!(
        "import {} --store run {more}",
        stage.root.path().join(file).display()
    )
}

#[test]
fn files_of_every_format_become_arrays_that_are_called_like_the_file_or_its_keys() {
    let stage = Stage::new();
    stage.counting("xs", &[3]);
    for name in ["a.npy", "a.npz", "a.safetensors", "a.raw"] {
        stage
            .command("export xs -o")
            .arg(file(&stage, name))
            .assert()
            .success();
    }
    let path = stage.output(&import(&stage, "a.npy", ""));
    assert_eq!(
        path.trim(),
        stage.run.path().join("a.ndshm").to_str().unwrap()
    );
    stage.ndshm(&import(&stage, "a.npz", "--name z-")).success();
    stage
        .ndshm(&import(&stage, "a.raw", "--dtype f64 --shape 3 --name raw"))
        .success();
    let json = stage.json(&import(&stage, "a.safetensors", "--name t-"));
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
        let read = stage
            .run
            .array::<f64, Ix1>(name)
            .unwrap()
            .to_ndarray()
            .unwrap();
        assert_eq!(read.to_vec(), [0.0, 1.0, 2.0], "{name}");
    }
}

#[test]
fn what_is_no_such_file_is_refused_and_makes_no_array() {
    let stage = Stage::new();
    stage.counting("xs", &[3]);
    stage
        .command("export xs -o")
        .arg(file(&stage, "a.npy"))
        .assert()
        .success();
    let whole = std::fs::read(file(&stage, "a.npy")).unwrap();
    std::fs::write(file(&stage, "short.npy"), &whole[..whole.len() - 1]).unwrap();
    std::fs::write(file(&stage, "none.npz"), "none").unwrap();
    std::fs::write(file(&stage, "a.raw"), [0; 24]).unwrap();
    std::fs::write(file(&stage, "a.txt"), "").unwrap();
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
        let failure = stage.failure(&import(&stage, name, more));
        assert!(
            failure.0.contains(reason) && failure.1 == code,
            "{name} {more}: {failure:?}"
        );
    }
    assert_eq!(stage.run.list().unwrap().len(), 1);
}
