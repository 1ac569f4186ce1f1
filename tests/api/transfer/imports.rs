//! Imports: the labels of the new arrays, their names, the progress, and files that are refused.

use crate::common::Root;
use ndarray::Ix1;
use ndshm::{AnyArray, Element, Error, Export, Import, Manager, Scope};
use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// The reason for which a file with these bytes is refused; no array is made, and nothing stays in
/// the store.
#[track_caller]
fn refused(manager: &Manager, bytes: &[u8]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x.npy");
    fs::write(&path, bytes).unwrap();
    let error = Import::new().name("x").npy(manager, &path).unwrap_err();
    assert!(matches!(error, Error::Transfer { .. }), "{error}");
    assert_eq!(
        fs::read_dir(manager.path()).unwrap().count(),
        1,
        "only the lock file"
    );
    error.to_string()
}

#[test]
fn files_that_are_cut_off_or_go_on_make_no_array() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager_that_forgets();
    let path = scratch.path().join("x.npy");
    Export::new()
        .npy(&manager.ones::<f64, _>((3, 4)).unwrap(), &path)
        .unwrap();
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 128 + 96);
    for len in [0, 5, 9, 40, 127] {
        assert!(
            refused(&manager, &whole[..len]).contains("ends too early"),
            "{len}"
        );
    }
    assert!(refused(&manager, &whole[..whole.len() - 1]).contains("cut off"));
    assert!(refused(&manager, &[&whole[..], &[0]].concat()).contains("1 more bytes follow"));
    // The length is compared before any memory is allocated.
    let huge = String::from_utf8_lossy(&whole[10..128]).replace("(3, 4)", "(3000000000000, 4)");
    let huge = [
        b"\x93NUMPY\x01\x00".as_slice(),
        &(huge.len() as u16).to_le_bytes(),
        huge.as_bytes(),
        &whole[128..],
    ]
    .concat();
    assert!(refused(&manager, &huge).contains("cut off"));
}

#[test]
fn an_import_refuses_a_name_that_is_taken() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let first = manager.options().name("x").ones::<u8, _>(3).unwrap();
    Export::new().npy(&first, &path).unwrap();
    assert!(matches!(
        Import::new().name("x").npy(&manager, &path),
        Err(Error::AlreadyExists { .. })
    ));
    assert!(matches!(
        Import::new().name(".x").npy(&manager, &path),
        Err(Error::Name { .. })
    ));
    assert_eq!(manager.array::<u8, Ix1>("x").unwrap().id(), first.id());
    let told = Import::new()
        .dtype(&"<f8".parse().unwrap())
        .npy(&manager, &path)
        .unwrap_err()
        .to_string();
    assert!(told.contains("|u1") && told.contains("<f8"), "{told}");
}

/// Checks the labels of an array that was imported with the settings of [`labelled`].
fn check_labels(array: &AnyArray, name: &str) {
    assert_eq!(
        (array.name().as_deref(), array.scope()),
        (Some(name), Scope::Local)
    );
    assert_eq!(array.attrs::<BTreeMap<String, u8>>().unwrap()["gain"], 3);
    let axis_names = ["row", "column"].map(|name| Some(name.to_owned()));
    assert_eq!(array.axis_names(), axis_names);
}

fn labelled() -> Import<'static> {
    Import::new()
        .scope(Scope::Local)
        .attrs(&BTreeMap::from([("gain", 3)]))
        .unwrap()
        .axis_names(["row", "column"])
}

#[test]
fn imported_arrays_get_the_name_attributes_axis_names_and_scope_that_were_set() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let array = manager.ones::<u8, _>((3, 4)).unwrap();
    Export::new().npy(&array, &path).unwrap();
    check_labels(&labelled().name("npy").npy(&manager, &path).unwrap(), "npy");
    let file = Export::new().replace();
    file.raw(&array, &path).unwrap();
    let raw = labelled()
        .name("raw")
        .raw(&manager, &path, &u8::DTYPE, &[3, 4]);
    check_labels(&raw.unwrap(), "raw");
    #[cfg(feature = "zip")]
    {
        file.npz(&[("x", &array), ("y", &array)], &path).unwrap();
        let read = labelled().prefix("npz.").npz(&manager, &path).unwrap();
        check_labels(&read.arrays[0].1, "npz.x");
        check_labels(&read.arrays[1].1, "npz.y");
    }
    #[cfg(feature = "safetensors")]
    {
        file.safetensors(&[("x", &array)], &path).unwrap();
        let read = labelled().prefix("st.").safetensors(&manager, &path);
        check_labels(&read.unwrap().arrays[0].1, "st.x");
    }
    // Without settings an array has no name, and is local.
    file.npy(&array, &path).unwrap();
    let plain = Import::new().npy(&manager, &path).unwrap();
    assert_eq!((plain.name(), plain.scope()), (None, Scope::Local));
    let named = Import::new().name("named").npy(&manager, &path).unwrap();
    assert_eq!(named.scope(), Scope::Store);
    let wrong = Import::new().axis_names(["row"]).npy(&manager, &path);
    assert!(matches!(wrong, Err(Error::Attrs { .. })));
}

#[test]
fn a_name_is_for_one_array_and_a_prefix_for_several() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x");
    let array = manager.ones::<u8, _>(3).unwrap();
    let file = Export::new().replace();
    let prefixed = Import::new().prefix("x");
    file.npy(&array, &path).unwrap();
    let found = prefixed.npy(&manager, &path);
    assert!(matches!(found, Err(Error::Name { reason, .. }) if reason.contains("give a name")));
    file.raw(&array, &path).unwrap();
    let found = prefixed.raw(&manager, &path, &u8::DTYPE, &[3]);
    assert!(matches!(found, Err(Error::Name { .. })));
    #[cfg(feature = "zip")]
    {
        file.npz(&[("x", &array)], &path).unwrap();
        let found = Import::new().name("x").npz(&manager, &path);
        assert!(
            matches!(found, Err(Error::Name { reason, .. }) if reason.contains("give a prefix"))
        );
    }
    #[cfg(feature = "safetensors")]
    {
        file.safetensors(&[("x", &array)], &path).unwrap();
        let found = Import::new().name("x").safetensors(&manager, &path);
        assert!(matches!(found, Err(Error::Name { .. })));
    }
    assert_eq!(manager.list().unwrap().len(), 1);
}

#[test]
fn progress_ends_at_the_total() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let manager = root.manager();
    let path = scratch.path().join("x.npy");
    let (last, total, calls) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let progress = |done, all| {
        assert!(done > last.swap(done, SeqCst) && done <= all);
        total.store(all, SeqCst);
        calls.fetch_add(1, SeqCst);
    };
    let array = manager.ones::<u8, _>(20_000_000).unwrap();
    Export::new()
        .progress(&progress)
        .npy(&array, &path)
        .unwrap();
    assert_eq!(
        (last.swap(0, SeqCst), total.load(SeqCst)),
        (20_000_000, 20_000_000)
    );
    Import::new()
        .progress(&progress)
        .npy(&manager, &path)
        .unwrap();
    assert_eq!(
        (last.load(SeqCst), total.load(SeqCst)),
        (20_000_000, 20_000_000)
    );
    assert!((8..20).contains(&calls.load(SeqCst)));
}
