//! Files of other programs: they are taken as far as they go, and what is left is listed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod archives;
mod tensors;
mod types;

use crate::common::Root;
use ndshm::{AnyArray, Error, Export, Exportable, Import, Imported, Manager};
use std::collections::BTreeMap;

/// A `.npy` file of version 1.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
    text += &" ".repeat((64 - (10 + text.len() + 1) % 64) % 64);
    text.push('\n');
    [
        b"\x93NUMPY\x01\x00",
        &(text.len() as u16).to_le_bytes()[..],
        text.as_bytes(),
        data,
    ]
    .concat()
}

fn bytes_3() -> Vec<u8> {
    npy("'|u1'", "(3,)", &[1, 2, 3])
}

fn keys(read: &Imported) -> Vec<&str> {
    read.arrays.iter().map(|(key, _)| key.as_str()).collect()
}

fn left(read: &Imported) -> BTreeMap<&str, &str> {
    let left = read.left.iter();
    left.map(|left| (left.key.as_str(), left.reason.as_str()))
        .collect()
}

fn reason(error: Error) -> String {
    match error {
        Error::Transfer { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// The arrays of a store, as the tool exports them.
fn stored(manager: &Manager) -> Vec<(String, AnyArray)> {
    let infos = manager.list().unwrap();
    let names = infos.into_iter().filter_map(|info| info.name);
    names
        .map(|name| manager.array_any(&name).unwrap())
        .map(|array| (array.key().unwrap(), array))
        .collect()
}

/// A key with a slash refused a whole file.
#[test]
fn every_key_comes_back_after_a_way_through_a_store() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let path = scratch.path().join("x");
    let (digits, long, longer) = ("0".repeat(32), "ä/".repeat(150), "ä/".repeat(151));
    let wanted = [
        "",
        " ",
        "a b",
        "a/b",
        "/",
        "../../etc/passwd",
        ".hidden",
        ".ndshm-new-1",
        "100%",
        "%2F",
        "%-",
        "日本",
        "x.npy",
        "a\nb",
        "a\\b",
        &digits,
        &long,
        &longer,
        "x.ndshm",
    ];
    let first = root.manager();
    let one = first.ones::<u8, _>(3).unwrap();
    let pairs: Vec<_> = wanted
        .iter()
        .map(|key| (*key, &one as &dyn Exportable))
        .collect();
    let mut expected = wanted.map(str::to_owned);
    expected.sort();
    for format in ["npz", "safetensors"] {
        let manager = root.manager();
        let import = |manager: &Manager| match format {
            "npz" => Import::new().prefix("").npz(manager, &path),
            _ => Import::new().prefix("").safetensors(manager, &path),
        };
        let export = Export::new().replace();
        match format {
            "npz" => export.npz(&pairs, &path).unwrap(),
            _ => export.safetensors(&pairs, &path).unwrap(),
        }
        assert_eq!(import(&manager).unwrap().arrays.len(), wanted.len());
        let arrays = stored(&manager);
        let pairs: Vec<_> = arrays
            .iter()
            .map(|(key, array)| (key, array as &dyn Exportable))
            .collect();
        match format {
            "npz" => export.npz(&pairs, &path).unwrap(),
            _ => export.safetensors(&pairs, &path).unwrap(),
        }
        let mut found: Vec<_> = import(&root.manager())
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        found.sort();
        assert_eq!(found, expected, "{format}");
        // What the caller chose is not escaped.
        let error = Import::new().prefix("a/").npz(&manager, &path).unwrap_err();
        assert!(matches!(error, Error::Name { .. }), "{error}");
    }
}
