//! safetensors files with types and metadata of other programs.

use super::{keys, left, reason};
use crate::common::Root;
use ndshm::{Export, Exportable, Import};
use std::{collections::BTreeMap, fs};

fn safetensors(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

fn tensor(dtype: &str, shape: &str, from: u64, to: u64) -> String {
    format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

/// An FP8 tensor refused a whole file.
#[test]
fn tensors_of_types_that_are_not_here_are_listed_and_left_on_request() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let json = format!(
        r#"{{"w/8":{},"a":{},"w/4":{},"b":{},"deep":{},"z":{}}}"#,
        tensor("F8_E4M3", "[3]", 0, 3),
        tensor("U8", "[2]", 3, 5),
        tensor("F4", "[3]", 5, 7),
        tensor("BF16", "[]", 7, 9),
        tensor("U8", &format!("[{}1]", "1,".repeat(32)), 9, 10),
        tensor("C64", "[0]", 10, 10),
    );
    fs::write(&path, safetensors(&json, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])).unwrap();
    let told = reason(Import::new().safetensors(&manager, &path).unwrap_err());
    for part in [
        r#""w/8": its element type "F8_E4M3""#,
        r#""w/4""#,
        "33 axes",
        "the setting skip_unsupported",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(manager.list().unwrap().len(), 0);
    let read = Import::new()
        .skip_unsupported()
        .safetensors(&manager, &path)
        .unwrap();
    assert_eq!(keys(&read), ["a", "b", "z"]);
    assert_eq!(
        left(&read).into_keys().collect::<Vec<_>>(),
        ["deep", "w/4", "w/8"]
    );
    assert_eq!(read.arrays[0].1.read_bytes().unwrap(), [4, 5]);
    assert_eq!(read.arrays[1].1.read_bytes().unwrap(), [8, 9]);
    // A stream passes over the bytes of tensors that are left.
    let bytes = fs::read(&path).unwrap();
    let import = Import::new().skip_unsupported();
    let streamed = import.safetensors_from(&manager, &bytes[..]).unwrap();
    assert_eq!(
        (keys(&streamed), left(&streamed)),
        (keys(&read), left(&read))
    );
    assert_eq!(streamed.arrays[1].1.read_bytes().unwrap(), [8, 9]);
    let cut = &bytes[..bytes.len() - 1];
    let import = Import::new().only(["a"]);
    let told = reason(import.safetensors_from(&manager, cut).unwrap_err());
    assert!(told.contains("ends too early"), "{told}");
    let read = Import::new()
        .only(["[ab]"])
        .safetensors(&manager, &path)
        .unwrap();
    assert_eq!((keys(&read), read.left.len()), (vec!["a", "b"], 0));
    // Holes, and tensors over each other, are no file of the format.
    for (from, to) in [(2, 3), (0, 1)] {
        let json = format!(
            r#"{{"x":{},"y":{}}}"#,
            tensor("F4", "[1]", 0, 1),
            tensor("F4", "[1]", from, to)
        );
        fs::write(&path, safetensors(&json, &[1, 2, 3])).unwrap();
        let told = reason(
            Import::new()
                .skip_unsupported()
                .safetensors(&manager, &path)
                .unwrap_err(),
        );
        assert!(told.contains("match neither"), "{told}");
    }
    fs::write(&path, safetensors("{}", &[])).unwrap();
    assert_eq!(
        Import::new()
            .safetensors(&manager, &path)
            .unwrap()
            .arrays
            .len(),
        0
    );
}

/// The metadata of a file were lost.
#[test]
fn metadata_are_attributes_and_are_written_again() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let file = |metadata: &str| {
        let json = format!(
            r#"{{"__metadata__":{metadata},"x":{}}}"#,
            tensor("U8", "[1]", 0, 1)
        );
        fs::write(&path, safetensors(&json, &[7])).unwrap();
    };
    file(r#"{"format":"pt","lizenz":"né \"x\"","n":5}"#);
    let own = BTreeMap::from([("mine", 3)]);
    let read = Import::new()
        .attrs(&own)
        .unwrap()
        .safetensors(&manager, &path)
        .unwrap();
    let array = &read.arrays[0].1;
    let attrs: BTreeMap<String, ciborium::Value> = array.attrs().unwrap();
    assert_eq!(attrs["mine"], 3.into());
    let metadata: BTreeMap<String, String> = attrs["safetensors.metadata"].deserialized().unwrap();
    let texts = [("format", "pt"), ("lizenz", "né \"x\""), ("n", "5")];
    assert_eq!(
        metadata,
        texts.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    );
    let plain = manager.ones::<f64, _>(2).unwrap();
    let both: [(_, &dyn Exportable); 2] = [("x", array), ("plain", &plain)];
    Export::new().replace().safetensors(&both, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let header = String::from_utf8_lossy(&bytes[8..]);
    assert!(
        header.contains(r#""__metadata__":{"format":"pt","lizenz":"né \"x\"","n":"5"}"#),
        "{header}"
    );
    let again = Import::new().safetensors(&manager, &path).unwrap();
    assert!(again.left.is_empty() && again.arrays.len() == 2);
    // Too long for a header of 64 KiB, or no map: left, but no reason to refuse the file.
    for (metadata, expected) in [
        (format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000)), "32 KiB"),
        ("[1]".into(), "not a map"),
    ] {
        file(&metadata);
        let read = Import::new().safetensors(&manager, &path).unwrap();
        assert!(left(&read)["__metadata__"].contains(expected) && keys(&read) == ["x"]);
    }
    file("{}");
    let read = Import::new().safetensors(&manager, &path).unwrap();
    assert!(read.left.is_empty());
    assert!(
        read.arrays[0]
            .1
            .attrs::<BTreeMap<String, String>>()
            .unwrap()
            .is_empty()
    );
}
