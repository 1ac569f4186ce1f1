//! Zarr v3 groups of other programs.

use super::fresh;
use crate::common::Root;
use ndarray::{Ix1, Ix2, array};
use ndshm::{Error, Order, Restore};
use serde_json::{Value, json};
use std::{fs, path::Path};

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn put(path: &Path, metadata: &Value) {
    write(&path.join("zarr.json"), metadata.to_string());
}

fn described(shape: &[usize], data_type: Value, chunk: &[usize], codecs: Value) -> Value {
    json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": codecs, "attributes": {"units": "m"},
    })
}

fn group(path: &Path) {
    put(path, &json!({"zarr_format": 3, "node_type": "group"}));
}

#[test]
fn a_group_without_consolidated_metadata_is_walked() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    group(scratch.path());
    group(&scratch.path().join("a"));
    let at = scratch.path().join("a/b");
    let mut metadata = described(&[3, 2], "int16".into(), &[2, 2], json!(["bytes"]));
    metadata["dimension_names"] = json!(["time", null]);
    put(&at, &metadata);
    write(&at.join("c/0/0"), [1, 0, 2, 0, 3, 0, 4, 0]);
    write(&at.join("c/1/0"), [5, 0, 6, 0, 9, 9, 9, 9]);
    let manager = root.manager();
    let restored = manager.restore(scratch.path()).unwrap();
    assert_eq!(
        (restored.checkpoint, &restored.names[..]),
        (None, &["a%2Fb".to_owned()][..])
    );
    let found = manager.array::<i16, Ix2>("a%2Fb").unwrap();
    assert_eq!(found.to_ndarray().unwrap(), array![[1, 2], [3, 4], [5, 6]]);
    assert_eq!(found.axis_names(), [Some("time".to_owned()), None]);
    assert_eq!(
        found
            .attrs::<std::collections::BTreeMap<String, String>>()
            .unwrap()["units"],
        "m"
    );
    // An array is a place too.
    let manager = fresh(&root);
    assert_eq!(manager.restore(&at).unwrap().names, ["b"]);
}

#[test]
fn chunks_that_cut_every_axis_are_put_together() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let transpose = json!([
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "bytes", "configuration": {"endian": "big"}},
    ]);
    let mut metadata = described(&[3, 3], "int16".into(), &[2, 2], transpose);
    metadata["fill_value"] = json!(-7);
    metadata["chunk_key_encoding"] = json!({"name": "v2"});
    put(scratch.path(), &metadata);
    // Big-endian, columns first; the chunk 1.1 is missing.
    write(&scratch.path().join("0.0"), [0, 1, 0, 3, 0, 2, 0, 4]);
    write(&scratch.path().join("0.1"), [0, 5, 0, 6, 9, 9, 9, 9]);
    write(&scratch.path().join("1.0"), [0, 7, 9, 9, 0, 8, 9, 9]);
    let manager = root.manager();
    let restored = Restore::new()
        .prefix("p.")
        .from_directory(&manager, scratch.path())
        .unwrap();
    let found = manager.array::<i16, Ix2>(&restored.names[0]).unwrap();
    assert_eq!(found.order(), Some(Order::F));
    assert_eq!(
        found.to_ndarray().unwrap(),
        array![[1, 2, 5], [3, 4, 6], [7, 8, -7]]
    );
}

#[test]
fn arrays_that_cannot_be_arrays_here_are_refused_or_left() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    group(scratch.path());
    put(
        &scratch.path().join("ok"),
        &described(&[2], "uint8".into(), &[2], json!(["bytes"])),
    );
    put(
        &scratch.path().join("text"),
        &described(&[2], "string".into(), &[2], json!(["bytes"])),
    );
    put(
        &scratch.path().join("packed"),
        &described(
            &[2],
            "uint8".into(),
            &[2],
            json!(["bytes", {"name": "blosc"}]),
        ),
    );
    let manager = root.manager();
    let Err(Error::Transfer { reason, .. }) = manager.restore(scratch.path()) else {
        panic!("refused");
    };
    assert!(
        reason.contains("text") && reason.contains("blosc"),
        "{reason}"
    );
    let restored = Restore::new()
        .skip_unsupported()
        .from_directory(&manager, scratch.path())
        .unwrap();
    assert_eq!(restored.names, ["ok"]);
    assert_eq!(restored.left.len(), 2);
    // A missing chunk is fill values.
    let ok = manager.array::<u8, Ix1>("ok").unwrap();
    assert_eq!(ok.read().unwrap().sum(), 0);
}
