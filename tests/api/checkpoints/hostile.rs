//! Zarr v3 groups whose metadata would lead a reader astray.

use super::{fresh, metadata, small};
use crate::common::Root;
use ndarray::{Ix1, Ix2};
use ndshm::{DType, DirectoryBucket, Error, Order, Restore};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::Path};

fn put(path: &Path, metadata: &Value) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("zarr.json"), metadata.to_string()).unwrap();
}

fn group() -> Value {
    json!({"zarr_format": 3, "node_type": "group"})
}

fn array(shape: &[usize], chunk: &[usize], codecs: Value) -> Value {
    json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default"}, "fill_value": 7, "codecs": codecs,
    })
}

fn consolidated(nodes: Value) -> Value {
    let mut group = group();
    group["consolidated_metadata"] =
        json!({"kind": "inline", "must_understand": false, "metadata": nodes});
    group
}

/// Why the place is refused.
fn refused(root: &Root, place: &Path) -> String {
    let manager = root.manager();
    let Err(error @ Error::Transfer { .. }) = manager.restore(place) else {
        panic!("refused");
    };
    assert_eq!(manager.list().unwrap().len(), 0);
    error.to_string()
}

#[test]
fn links_in_a_circle_end_the_walk_with_an_error() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    put(scratch.path(), &group());
    symlink(".", scratch.path().join("a")).unwrap();
    symlink(".", scratch.path().join("b")).unwrap();
    let reason = refused(&root, scratch.path());
    assert!(reason.contains("nested deeper than 32"), "{reason}");
}

#[test]
fn groups_that_share_their_groups_end_the_walk_with_an_error() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    // Each of 20 groups has the next one twice, which makes a million paths.
    for depth in 0..20 {
        let at = scratch.path().join(depth.to_string());
        put(&at, &group());
        for name in ["a", "b"] {
            symlink(format!("../{}", depth + 1), at.join(name)).unwrap();
        }
    }
    put(&scratch.path().join("20"), &group());
    let reason = refused(&root, &scratch.path().join("0"));
    assert!(reason.contains("more than 100000 nodes"), "{reason}");
}

#[test]
fn a_node_that_cannot_be_read_is_left_or_named_by_the_error() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let at = |path: &str| scratch.path().join(path);
    put(scratch.path(), &group());
    put(&at("ok"), &array(&[2], &[2], json!(["bytes"])));
    put(&at("in"), &group());
    put(&at("in/other"), &json!(5));
    fs::create_dir(at("broken")).unwrap();
    fs::write(at("broken/zarr.json"), "{").unwrap();
    symlink("itself", at("itself")).unwrap();
    let reason = refused(&root, scratch.path());
    for name in ["\"broken\": its zarr.json is no JSON", "in/other", "itself"] {
        assert!(reason.contains(name), "{reason}");
    }
    let manager = root.manager();
    let restored = Restore::new()
        .skip_unsupported()
        .from_directory(&manager, scratch.path())
        .unwrap();
    assert_eq!(restored.names, ["ok"]);
    let left: Vec<_> = restored.left.iter().map(|left| &*left.key).collect();
    assert_eq!(left, ["broken", "in/other", "itself"]);
    // What is not asked for does not matter.
    let chosen = Restore::new().only(["ok"]).prefix("again.");
    assert!(chosen.from_directory(&manager, scratch.path()).is_ok());
}

#[test]
fn paths_that_lead_out_of_the_place_are_refused() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let place = scratch.path().join("place");
    let described = array(&[1], &[1], json!(["bytes"]));
    // Elements outside of the place, which no path may lead to.
    put(&scratch.path().join("x"), &described);
    fs::create_dir(scratch.path().join("x/c")).unwrap();
    fs::write(scratch.path().join("x/c/0"), [1]).unwrap();
    let outside = scratch.path().join("x");
    for path in [
        "../x",
        "a/../../x",
        "a/../b",
        "/etc",
        outside.to_str().unwrap(),
        "a//b",
        "a/",
        "./a",
        ".",
        "",
    ] {
        put(
            &place,
            &consolidated(json!({path: described, "ok": described})),
        );
        let reason = refused(&root, &place);
        assert!(reason.contains(&format!("{path:?}: its path")), "{reason}");
        let manager = fresh(&root);
        let restored = Restore::new()
            .skip_unsupported()
            .read(&manager, &DirectoryBucket::new(&place))
            .unwrap();
        assert_eq!(restored.names, ["ok"]);
        assert_eq!(restored.left[0].key, path);
        let ok = manager.array::<u8, Ix1>("ok").unwrap();
        assert_eq!(ok.read().unwrap()[0], 7);
        ok.release().unwrap();
    }
}

#[test]
fn a_small_array_with_a_huge_chunk_is_refused_by_its_name() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    put(scratch.path(), &group());
    let huge = array(&[2, 1], &[2, 1 << 36], json!(["bytes", "gzip"]));
    put(&scratch.path().join("bomb"), &huge);
    let reason = refused(&root, scratch.path());
    assert!(reason.contains("\"bomb\": its chunks of shape"), "{reason}");
    put(
        &scratch.path().join("bomb"),
        &array(&[1 << 40, 1 << 40, 5], &[1, 1, 1], json!(["bytes"])),
    );
    let reason = refused(&root, scratch.path());
    assert!(reason.contains("than can be counted"), "{reason}");
}

#[test]
fn a_shard_of_an_array_much_smaller_than_it_is_restored() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let shard = json!([{"name": "sharding_indexed", "configuration": {
        "chunk_shape": [1 << 17, 1 << 17], "codecs": ["bytes"], "index_codecs": ["bytes"],
    }}]);
    put(
        &scratch.path().join("low"),
        &array(&[3, 2], &[1 << 18, 1 << 17], shard),
    );
    // Two inner chunks, which are missing.
    fs::create_dir_all(scratch.path().join("low/c/0")).unwrap();
    fs::write(scratch.path().join("low/c/0/0"), [255; 32]).unwrap();
    let manager = root.manager();
    manager.restore(scratch.path().join("low")).unwrap();
    let low = manager.array::<u8, Ix2>("low").unwrap();
    assert_eq!(low.read().unwrap().sum(), 6 * 7);
}

#[test]
fn arrays_with_as_many_axes_as_there_are_within_elements_too_come_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let axes = "1,".repeat(31) + "2";
    let dtype: DType = format!("({axes})int128").parse().unwrap();
    let array = manager
        .options()
        .name("xs")
        .empty_any(&dtype, &[1; 32], Order::C)
        .unwrap();
    array.write().unwrap().fill(3);
    let written = small().to_directory(&manager, scratch.path()).unwrap();
    let shape = &metadata(scratch.path(), &written.id, "xs")["shape"];
    assert_eq!(shape.as_array().unwrap().len(), 65);
    let other = root.manager();
    other.restore(scratch.path()).unwrap();
    let restored = other.array_any("xs").unwrap();
    assert_eq!((restored.dtype(), restored.shape()), (&dtype, &[1; 32][..]));
    assert_eq!(restored.read_bytes().unwrap(), [3; 32]);
    // As an array of another program it has too many.
    let node = scratch.path().join(written.id).join("xs");
    let reason = refused(&Root::new(), &node);
    assert!(reason.contains("65 axes, at most 32"), "{reason}");
}

#[cfg(feature = "zstd")]
#[test]
fn a_short_log_with_room_for_many_rows_in_its_chunk_comes_back() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let options = manager.options().name("log");
    let log = options.growing::<i64, _>(1 << 40, 2).unwrap();
    for row in 0..2 {
        log.append(&ndarray::array![[row, -row]]).unwrap();
    }
    let large = small().chunk_len(300 << 20).zstd(1);
    large.to_directory(&manager, scratch.path()).unwrap();
    let other = root.manager();
    other.restore(scratch.path()).unwrap();
    let log = other.growing::<i64, Ix2>("log").unwrap();
    assert_eq!(log.all().unwrap()[[1, 1]], -1);
}
